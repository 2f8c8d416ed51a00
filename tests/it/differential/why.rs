//! Why other servers do something else than the tables say.

pub(crate) const LF: &str = "takes a bare line feed as the end of a line, as RFC 9112 2.2 allows";
pub(crate) const LF_CHUNK: &str =
    "takes a bare line feed in chunk framing and trailers, where RFC 9112 7.1 has none";
pub(crate) const RAW_PATH: &str =
    "passes the target on as it came; what it stands for is left to the server behind it";
pub(crate) const RAW_HOST: &str = "does not look that closely at the host";
pub(crate) const HOP: &str = "removes Connection and some of the fields of a hop only";
pub(crate) const SPACES: &str = "skips white space that does not belong there";
pub(crate) const CONTROL: &str = "does not look for control bytes there";
pub(crate) const UNFOLDS: &str = "joins the lines, as RFC 9112 5.2 allows";
pub(crate) const TOKEN: &str = "takes any token as a method";
pub(crate) const DROPPED: &str = "drops a field with such a name and goes on";
pub(crate) const SAME: &str =
    "takes several lengths or hosts that are the same for one, as RFC 9112 allows for lengths";
pub(crate) const WRAPS: &str = "reads the number modulo 2^64, and so a request in what follows";
pub(crate) const BOTH_FRAMES: &str =
    "goes by the coding, leaves the length out and closes, as RFC 9112 6.1 allows in HTTP/1.1";
pub(crate) const OLD: &str = "speaks the client's version to the upstream";
pub(crate) const NO_BODY: &str =
    "reads a request without a length as one without a body, as RFC 9112 6.3 says";
pub(crate) const EXPECTS: &str = "passes over expectations that it does not know";
pub(crate) const DIGITS: &str = "counts bits, not digits";
pub(crate) const LONG_EXTENSION: &str = "has no limit of its own for extensions";
pub(crate) const TRAILERS: &str = "does not look into trailers";
pub(crate) const EMPTY_LINES: &str = "skips any number of empty lines and carriage returns before a request";
pub(crate) const VERSIONS: &str = "reads other versions, too";
pub(crate) const TUNNEL: &str = "opens the tunnel, and is a proxy of this kind unless told otherwise";
pub(crate) const OLD_UPGRADE: &str = "refuses what RFC 9110 7.8 tells a server to ignore";
pub(crate) const TAB_SPACE: &str = "takes no tab after the value";
pub(crate) const URL: &str =
    "lets the URL win over Host, as RFC 9112 3.2.2 says for it, and knows any scheme";
pub(crate) const WHOLE_URL: &str = "speaks to an upstream as to another proxy: with the whole URL";
pub(crate) const NO_HOST: &str = "asks for no host, and sends none";
pub(crate) const LONG: &str = "has larger limits";
pub(crate) const COLON: &str = "takes a line without a colon for a name without a value";
pub(crate) const CR: &str = "takes more than one carriage return before a line feed";
pub(crate) const ANY_NAME: &str = "has no name that is one of another in disguise";
pub(crate) const LOWERS: &str = "writes the host of a URL in lower case";
pub(crate) const NO_STAR: &str = "has nothing to say about itself";
