//! Request lines, targets, hosts and fields.

use super::rows::{Row, get, host, line, row};
use super::why::{
    COLON, CONTROL, CR, DROPPED, EMPTY_LINES, HOP, LF, LONG, LOWERS, NO_HOST, NO_STAR, OLD, RAW_HOST,
    RAW_PATH, SAME, SPACES, TOKEN, UNFOLDS, URL, VERSIONS, WHOLE_URL,
};

const LINE_FEED: &str =
    "RFC 9112 lets a server take it as the end of a line; servers that do not see another message";
const SPELLED: &str = "a name in a second spelling is another name for whoever does not decode it";
const ONE_PATH: &str =
    "RFC 3986 would resolve it, and what was routed and authorised would not be what was sent";

pub(crate) static LINES: &[Row] = &[
    row("no version", "9112 3", b"GET /v1/a\r\n\r\n", "400 closed")
        .nginx("GET /v1/a - none -> nothing closed", VERSIONS),
    row("HTTP/0.9", "9112 2.3", line!("GET /v1/a HTTP/0.9"), "400 closed")
        .haproxy("GET /v1/a a none HTTP/0.9 closed", OLD),
    row("HTTP/1.2", "9110 2.5", line!("GET /v1/a HTTP/1.2"), "400 closed")
        .stricter("there is no such version, so nobody can say what the message means")
        .both("GET /v1/a a none", VERSIONS),
    row("HTTP/2.0 in a request line", "9112 2.3", line!("GET /v1/a HTTP/2.0"), "400 closed")
        .haproxy("GET /v1/a a none", VERSIONS),
    row("version in lower case", "9112 2.3", line!("GET /v1/a http/1.1"), "400 closed"),
    row("version with a leading zero", "9112 2.3", line!("GET /v1/a HTTP/01.1"), "400 closed"),
    row("version with a letter behind", "9112 2.3", line!("GET /v1/a HTTP/1.1x"), "400 closed"),
    row("another protocol", "9112 2.3", line!("GET /v1/a ICY/1.1"), "400 closed"),
    row("a space behind the version", "9112 3", line!("GET /v1/a HTTP/1.1 "), "400 closed")
        .nginx("GET /v1/a a none", SPACES),
    row("two spaces before the target", "9112 3", line!("GET  /v1/a HTTP/1.1"), "400 closed")
        .both("GET /v1/a a none", SPACES),
    row("two spaces behind the target", "9112 3", line!("GET /v1/a  HTTP/1.1"), "400 closed")
        .both("GET /v1/a a none", SPACES),
    row("tabs between the words", "9112 3", line!("GET\t/v1/a\tHTTP/1.1"), "400 closed")
        .haproxy("GET /v1/a a none", SPACES),
    row("a space before the method", "9112 3", line!(" GET /v1/a HTTP/1.1"), "400 closed"),
    row("a carriage return before the method", "9112 2.2", line!("\rGET /v1/a HTTP/1.1"), "400 closed")
        .nginx("GET /v1/a a none", EMPTY_LINES),
    row(
        "a bare line feed behind the version",
        "9112 2.2",
        b"GET /v1/a HTTP/1.1\nHost: a\r\n\r\n",
        "400 closed",
    )
    .stricter(LINE_FEED)
    .both("GET /v1/a a none", LF),
    row("a head with bare line feeds", "9112 2.2", b"GET /v1/a HTTP/1.1\nHost: a\n\n", "400 closed")
        .stricter(LINE_FEED)
        .both("GET /v1/a a none", LF),
    row(
        "a bare carriage return behind the version",
        "9112 2.2",
        b"GET /v1/a HTTP/1.1\rHost: a\r\n\r\n",
        "400 closed",
    ),
    row("nothing but a word", "9112 3", line!("GET"), "400 closed"),
    row("a method in lower case", "9110 9.1", line!("get /v1/a HTTP/1.1"), "400 closed")
        .stricter("servers that fold its case would act on another method than the one that was allowed")
        .haproxy("get /v1/a a none", TOKEN),
    row("a method with a quote", "9110 9.1", line!("G\"ET /v1/a HTTP/1.1"), "400 closed"),
    row("a method with a colon", "9110 9.1", line!("GET: /v1/a HTTP/1.1"), "400 closed"),
    row("a method with a NUL", "9110 9.1", line!("GET\0 /v1/a HTTP/1.1"), "400 closed"),
    row("a method of 10 KiB", "9112 3", line!("@@ /v1/a HTTP/1.1"), "501 closed")
        .grown(10_240)
        .haproxy("(10240 bytes) /v1/a a none", TOKEN),
    row(
        "a long method in capitals",
        "9112 3",
        line!("GETGETGETGETGETGETGETGETGETGETGETGET /v1/a HTTP/1.1"),
        "501 closed",
    )
    .stricter("no method is that long")
    .both("GETGETGETGETGETGETGETGETGETGETGETGET /v1/a a none", TOKEN),
    row("a method nobody knows", "9110 9.1", line!("FROB /v1/a HTTP/1.1"), "FROB /v1/a a none"),
    row(
        "a field that overrides the method",
        "9110 9.1",
        get!("/v1/a", "X-HTTP-Method-Override: DELETE\r\n"),
        "GET /v1/a a none",
    ),
    row("a TLS handshake", "9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 closed"),
];

pub(crate) static TARGETS: &[Row] = &[
    row("a path and a query", "9112 3.2.1", get!("/v1/a/b?c=d&e"), "GET /v1/a/b?c=d&e a none"),
    row("a query that is empty", "9112 3.2.1", get!("/v1/a?"), "GET /v1/a? a none"),
    row("a second question mark", "3986 3.4", get!("/v1/a?b?c"), "GET /v1/a?b?c a none"),
    row("escapes in the query", "3986 2.4", get!("/v1/a?b=%2f%2E%2e%00"), "GET /v1/a?b=%2f%2E%2e%00 a none"),
    row("dots and slashes in the query", "3986 3.4", get!("/v1/a?/../b"), "GET /v1/a?/../b a none"),
    row("parameters of a segment", "3986 3.3", get!("/v1/a;x=y"), "GET /v1/a;x=y a none"),
    row("an escaped letter", "3986 6.2.2.2", get!("/v1/%61%7E"), "GET /v1/a~ a none")
        .both("GET /v1/%61%7E a none", RAW_PATH),
    row("escapes in lower case", "3986 6.2.2.1", get!("/v1/%c3%a4%3b"), "GET /v1/%C3%A4%3B a none")
        .both("GET /v1/%c3%a4%3b a none", RAW_PATH),
    row("an escaped percent sign", "3986 2.4", get!("/v1/%252e%252e/a"), "GET /v1/%252e%252e/a a none"),
    row("an escaped question mark", "3986 2.2", get!("/v1/a%3fb"), "GET /v1/a%3Fb a none")
        .both("GET /v1/a%3fb a none", RAW_PATH),
    row("a trailing slash", "3986 6.2.3", get!("/v1/a/"), "GET /v1/a/ a none"),
    row("a trailing dot", "3986 3.3", get!("/v1/a."), "GET /v1/a. a none"),
    row("three dots", "3986 3.3", get!("/v1/.../a"), "GET /v1/.../a a none"),
    row("a dot segment", "3986 5.2.4", get!("/v1/b/../a"), "400")
        .stricter(ONE_PATH)
        .both("GET /v1/b/../a a none", RAW_PATH),
    row("a dot segment out of the root", "3986 5.2.4", get!("/v1/../../a"), "400")
        .stricter(ONE_PATH)
        .haproxy("GET /v1/../../a a none", RAW_PATH),
    row("a single dot", "3986 5.2.4", get!("/v1/./a"), "400")
        .stricter(ONE_PATH)
        .both("GET /v1/./a a none", RAW_PATH),
    row("a dot segment at the end", "3986 5.2.4", get!("/v1/a/.."), "400")
        .stricter(ONE_PATH)
        .both("GET /v1/a/.. a none", RAW_PATH),
    row("an escaped dot segment", "3986 6.2.2.2", get!("/v1/b/%2e%2e/a"), "400")
        .stricter(ONE_PATH)
        .both("GET /v1/b/%2e%2e/a a none", RAW_PATH),
    row("a half escaped dot segment", "3986 6.2.2.2", get!("/v1/b/.%2E/a"), "400")
        .stricter(ONE_PATH)
        .both("GET /v1/b/.%2E/a a none", RAW_PATH),
    row("a dot segment with a parameter", "3986 3.3", get!("/v1/b/..;x/a"), "400")
        .stricter("servers that strip parameters first find a dot segment")
        .both("GET /v1/b/..;x/a a none", RAW_PATH),
    row("an escaped slash", "3986 2.2", get!("/v1/a%2fb"), "400")
        .stricter("servers that decode before they split see another path")
        .both("GET /v1/a%2fb a none", RAW_PATH),
    row("a backslash", "3986 3.3", get!("/v1/a\\b"), "400 closed").both("GET /v1/a\\b a none", RAW_PATH),
    row("an escaped backslash", "3986 2.1", get!("/v1/a%5cb"), "400")
        .stricter("some servers read it as a slash")
        .both("GET /v1/a%5cb a none", RAW_PATH),
    row("an escaped NUL", "3986 2.1", get!("/v1/a%00b"), "400")
        .stricter("C strings end there")
        .haproxy("GET /v1/a%00b a none", RAW_PATH),
    row("an escaped line end", "3986 2.1", get!("/v1/a%0d%0aX:b"), "400")
        .stricter("who decodes it writes a line of its own into the next head")
        .both("GET /v1/a%0d%0aX:b a none", RAW_PATH),
    row("an overlong escape", "3986 2.5", get!("/v1/%c0%af"), "400")
        .stricter("decoders that take it read a slash")
        .both("GET /v1/%c0%af a none", RAW_PATH),
    row("an escape with other digits", "3986 2.1", get!("/v1/%zz"), "400")
        .haproxy("GET /v1/%zz a none", RAW_PATH),
    row("half an escape", "3986 2.1", get!("/v1/a%2"), "400").haproxy("GET /v1/a%2 a none", RAW_PATH),
    row("an escape of %u", "3986 2.1", get!("/v1/%u0061"), "400").haproxy("GET /v1/%u0061 a none", RAW_PATH),
    row("an empty segment", "3986 3.3", get!("/v1//a"), "404")
        .stricter("servers that merge slashes see another path; it matches no operation")
        .both("GET /v1//a a none", RAW_PATH),
    row("two slashes at the beginning", "3986 3.3", get!("//v1/a"), "404")
        .stricter("some read a host there; it matches no operation")
        .both("GET //v1/a a none", RAW_PATH),
    row("a bar in the path", "3986 3.3", get!("/v1/a|b"), "GET /v1/a%7Cb a none")
        .both("GET /v1/a|b a none", RAW_PATH),
    row("brackets in the path", "3986 3.3", get!("/v1/a[b]"), "GET /v1/a%5Bb%5D a none")
        .both("GET /v1/a[b] a none", RAW_PATH),
    row("quotes in the path", "3986 3.3", get!("/v1/a\"b"), "400 closed")
        .both("GET /v1/a\"b a none", RAW_PATH),
    row("angle brackets in the path", "3986 3.3", get!("/v1/<b>"), "400 closed")
        .both("GET /v1/<b> a none", RAW_PATH),
    row("braces in the path", "3986 3.3", get!("/v1/{b}"), "400 closed").both("GET /v1/{b} a none", RAW_PATH),
    row("a caret in the path", "3986 3.3", get!("/v1/^"), "400 closed").both("GET /v1/^ a none", RAW_PATH),
    row("a backquote in the path", "3986 3.3", get!("/v1/`"), "400 closed")
        .both("GET /v1/` a none", RAW_PATH),
    row("a fragment", "9112 3.2", get!("/v1/a#b"), "400 closed").nginx("GET /v1/a#b a none", RAW_PATH),
    row("a space", "9112 3.2", get!("/v1/a b"), "400 closed"),
    row("a space and a version in the target", "9112 3.2", get!("/v1/a HTTP/1.1"), "400 closed"),
    row("a control byte", "9112 3.2", get!("/v1/a\x01b"), "400 closed"),
    row("a NUL in the target", "9112 3.2", get!("/v1/a\0b"), "400 closed"),
    row("DEL", "9112 3.2", get!("/v1/a\x7fb"), "400 closed"),
    row("a tab in the target", "9112 3.2", get!("/v1/a\tb"), "400 closed"),
    row("a carriage return in the target", "9112 3.2", get!("/v1/a\rb"), "400 closed"),
    row("letters outside ASCII", "9112 3.2", get!("/v1/\u{e4}"), "400 closed")
        .nginx("GET /v1/Ã¤ a none", RAW_PATH),
    row("letters outside ASCII in the query", "9112 3.2", get!("/v1/a?\u{e4}"), "400 closed")
        .nginx("GET /v1/a?Ã¤ a none", RAW_PATH),
    row("no slash", "9112 3.2", get!("v1/a"), "400 closed"),
    row("a query alone", "9112 3.2", get!("?v1/a"), "400 closed"),
    row("the server as a whole", "9110 9.3.7", line!("OPTIONS * HTTP/1.1"), "204")
        .nginx("400 closed", NO_STAR)
        .haproxy("OPTIONS * a none", RAW_PATH),
    row("the server as a whole, of GET", "9112 3.2.4", line!("GET * HTTP/1.1"), "400 closed")
        .haproxy("GET * a none", RAW_PATH),
    row("an authority alone", "9112 3.2.3", line!("GET a:80 HTTP/1.1"), "400 closed"),
    row("a URL", "9112 3.2.2", line!("GET http://a/v1/a?b HTTP/1.1"), "GET /v1/a?b a none")
        .haproxy("GET http://a/v1/a?b a none", WHOLE_URL),
    row("a URL in capitals", "9110 4.2.3", line!("GET HTTP://A/v1/a HTTP/1.1"), "GET /v1/a A none")
        .nginx("GET /v1/a a none", LOWERS)
        .haproxy("GET HTTP://A/v1/a a none", WHOLE_URL),
    row("a URL of another host", "9112 3.2.2", line!("GET http://b/v1/a HTTP/1.1"), "400 closed")
        .stricter("RFC 9112 lets the URL win; a server that lets Host win would route and cache for another")
        .nginx("GET /v1/a a none", URL),
    row("a URL with user information", "9110 4.2.4", line!("GET http://u:p@a/v1/a HTTP/1.1"), "400 closed")
        .haproxy("GET http://u:p@a/v1/a a none", WHOLE_URL),
    row("a URL without a host", "9110 4.2.1", line!("GET http:///v1/a HTTP/1.1"), "400 closed")
        .haproxy("GET http:///v1/a a none", WHOLE_URL),
    row("a URL of another scheme", "9110 4.2", line!("GET ftp://a/v1/a HTTP/1.1"), "400 closed")
        .nginx("GET /v1/a a none", URL)
        .haproxy("GET ftp://a/v1/a a none", WHOLE_URL),
    row("a target of 9000 bytes", "9112 3", get!("/v1/@@"), "414 closed")
        .grown(9_000)
        .stricter("RFC 9112 recommends to take 8000 bytes; `limits.uri_bytes` is 8 KiB unless configured")
        .haproxy("GET (9004 bytes) a none", LONG),
];

pub(crate) static HOSTS: &[Row] = &[
    row("host with a port", "9110 7.2", host!("Host: a:8080\r\n"), "GET /v1/a a:8080 none"),
    row("host in capitals", "9110 4.2.3", host!("Host: A.Example\r\n"), "GET /v1/a A.Example none"),
    row("host with a dot at its end", "3986 3.2.2", host!("Host: a.\r\n"), "GET /v1/a a. none"),
    row("host as an IPv6 address", "3986 3.2.2", host!("Host: [::1]:80\r\n"), "GET /v1/a [::1]:80 none"),
    row("host missing", "9112 3.2", host!(""), "400 closed").haproxy("GET /v1/a - none", NO_HOST),
    row(
        "host missing in HTTP/1.0",
        "9112 3.2",
        b"GET /v1/a HTTP/1.0\r\n\r\n",
        "GET /v1/a upstream none closed",
    )
    .nginx("GET /v1/a - none closed", NO_HOST)
    .haproxy("GET /v1/a - none HTTP/1.0 closed", NO_HOST),
    row("host empty", "9110 4.2.1", host!("Host:\r\n"), "400 closed").haproxy("GET /v1/a  none", NO_HOST),
    row("two hosts", "9112 3.2", host!("Host: a\r\nHost: b\r\n"), "400 closed"),
    row("two hosts, the same", "9112 3.2", host!("Host: a\r\nHost: a\r\n"), "400 closed")
        .haproxy("GET /v1/a a none", SAME),
    row("host with user information", "9110 7.2", host!("Host: u@a\r\n"), "400 closed")
        .both("GET /v1/a u@a none", RAW_HOST),
    row("host as a list", "9110 7.2", host!("Host: a, b\r\n"), "400 closed")
        .haproxy("GET /v1/a a, b none", RAW_HOST),
    row("host with a path", "9110 7.2", host!("Host: a/b\r\n"), "400 closed")
        .haproxy("GET /v1/a a/b none", RAW_HOST),
    row("host with a query", "9110 7.2", host!("Host: a?b\r\n"), "400 closed")
        .both("GET /v1/a a?b none", RAW_HOST),
    row("host with a fragment", "9110 7.2", host!("Host: a#b\r\n"), "400 closed")
        .both("GET /v1/a a#b none", RAW_HOST),
    row("host with a backslash", "9110 7.2", host!("Host: a\\b\r\n"), "400 closed")
        .both("GET /v1/a a\\b none", RAW_HOST),
    row("host with a space", "9110 7.2", host!("Host: a b\r\n"), "400 closed")
        .haproxy("GET /v1/a a b none", RAW_HOST),
    row("host with an escape", "3986 3.2.2", host!("Host: %61\r\n"), "400 closed")
        .stricter(SPELLED)
        .both("GET /v1/a %61 none", RAW_HOST),
    row("host outside ASCII", "9110 7.2", host!("Host: \u{e4}\r\n"), "400 closed")
        .both("GET /v1/a Ã¤ none", RAW_HOST),
    row("host with an empty label", "3986 3.2.2", host!("Host: a..b\r\n"), "400 closed")
        .stricter(SPELLED)
        .haproxy("GET /v1/a a..b none", RAW_HOST),
    row("host with a sub-delimiter", "3986 3.2.2", host!("Host: a!b\r\n"), "400 closed")
        .stricter("no name in the DNS has one")
        .both("GET /v1/a a!b none", RAW_HOST),
    row("host with a port that is no number", "9110 7.2", host!("Host: a:80x\r\n"), "400 closed")
        .both("GET /v1/a a:80x none", RAW_HOST),
    row("host with port 0", "9110 4.2.1", host!("Host: a:0\r\n"), "400 closed")
        .stricter("nobody can listen there")
        .both("GET /v1/a a:0 none", RAW_HOST),
    row("host with a port over 65535", "9110 4.2.1", host!("Host: a:65536\r\n"), "400 closed")
        .stricter("16 bits of it would be another port")
        .both("GET /v1/a a:65536 none", RAW_HOST),
    row("host with a leading zero in its port", "3986 3.2.3", host!("Host: a:080\r\n"), "400 closed")
        .stricter(SPELLED)
        .both("GET /v1/a a:080 none", RAW_HOST),
    row("host with an empty port", "3986 3.2.3", host!("Host: a:\r\n"), "400 closed")
        .stricter(SPELLED)
        .both("GET /v1/a a: none", RAW_HOST),
    row("host with an open bracket", "3986 3.2.2", host!("Host: [::1\r\n"), "400 closed")
        .both("GET /v1/a [::1 none", RAW_HOST),
    row("host with brackets around a name", "3986 3.2.2", host!("Host: [a]\r\n"), "400 closed")
        .both("GET /v1/a [a] none", RAW_HOST),
    row("host with a space before the colon", "9112 5.1", host!("Host : a\r\n"), "400 closed"),
    row("host folded", "9112 5.2", host!("Host:\r\n a\r\n"), "400 closed")
        .haproxy("GET /v1/a a none", UNFOLDS),
    row("host after a first line that is folded", "9112 2.2", host!(" X: a\r\nHost: a\r\n"), "400 closed"),
];

pub(crate) static FIELDS: &[Row] = &[
    row("a field", "9110 5.5", get!("/v1/a", "X-Probe: b\r\n"), "GET /v1/a a none x-probe=[b]"),
    row(
        "a field twice",
        "9110 5.3",
        get!("/v1/a", "X-Probe: b\r\nX-Probe: c\r\n"),
        "GET /v1/a a none x-probe=[b] x-probe=[c]",
    ),
    row(
        "a value with tabs and spaces",
        "9110 5.5",
        get!("/v1/a", "X-Probe:\t b \t c \t\r\n"),
        "GET /v1/a a none x-probe=[b \\t c]",
    ),
    row("an empty value", "9110 5.5", get!("/v1/a", "X-Probe:\r\n"), "GET /v1/a a none x-probe=[]"),
    row(
        "a value outside ASCII",
        "9110 5.5",
        b"GET /v1/a HTTP/1.1\r\nHost: a\r\nX-Probe: \xe4\r\n\r\n",
        "GET /v1/a a none x-probe=[\u{e4}]",
    ),
    row(
        "a name with an underscore",
        "9110 5.1",
        get!("/v1/a", "X_Probe: b\r\n"),
        "GET /v1/a a none x_probe=[b]",
    )
    .nginx("GET /v1/a a none", DROPPED),
    row(
        "a name with every token character",
        "9110 5.6.2",
        get!("/v1/a", "X-Probe!#$%&'*+.^_`|~1: b\r\n"),
        "GET /v1/a a none x-probe!#$%&'*+.^_`|~1=[b]",
    )
    .nginx("GET /v1/a a none", DROPPED),
    row("NUL in a value", "9110 5.5", get!("/v1/a", "X-Probe: b\0c\r\n"), "400 closed")
        .haproxy("GET /v1/a a none x-probe=[b\\0c]", CONTROL),
    row("a control byte in a value", "9110 5.5", get!("/v1/a", "X-Probe: b\x01c\r\n"), "400 closed")
        .both("GET /v1/a a none x-probe=[b\\u{1}c]", CONTROL),
    row("DEL in a value", "9110 5.5", get!("/v1/a", "X-Probe: b\x7fc\r\n"), "400 closed")
        .both("GET /v1/a a none x-probe=[b\\u{7f}c]", CONTROL),
    row(
        "a bare carriage return in a value",
        "9112 2.2",
        get!("/v1/a", "X-Probe: b\rX-Probe-2: c\r\n"),
        "400 closed",
    ),
    row(
        "a bare line feed in a value",
        "9112 2.2",
        get!("/v1/a", "X-Probe: b\nX-Probe-2: c\r\n"),
        "400 closed",
    )
    .stricter(LINE_FEED)
    .both("GET /v1/a a none x-probe=[b] x-probe-2=[c]", LF),
    row("a carriage return too many", "9112 2.2", get!("/v1/a", "X-Probe: b\r\r\n"), "400 closed")
        .nginx("GET /v1/a a none x-probe=[b]", CR),
    row("a folded value", "9112 5.2", get!("/v1/a", "X-Probe: b\r\n c\r\n"), "400 closed")
        .haproxy("GET /v1/a a none x-probe=[b   c]", UNFOLDS),
    row("a value folded with a tab", "9112 5.2", get!("/v1/a", "X-Probe: b\r\n\tc\r\n"), "400 closed")
        .haproxy("GET /v1/a a none x-probe=[b  \\tc]", UNFOLDS),
    row("a space in a name", "9112 5.1", get!("/v1/a", "X Probe: b\r\n"), "400 closed"),
    row("a space before the colon", "9112 5.1", get!("/v1/a", "X-Probe : b\r\n"), "400 closed"),
    row("a bracket in a name", "9110 5.1", get!("/v1/a", "X-Probe[]: b\r\n"), "400 closed")
        .nginx("GET /v1/a a none", DROPPED),
    row("a slash in a name", "9110 5.1", get!("/v1/a", "X/Probe: b\r\n"), "400 closed")
        .nginx("GET /v1/a a none", DROPPED),
    row("NUL in a name", "9110 5.1", get!("/v1/a", "X-Probe\0: b\r\n"), "400 closed"),
    row("a carriage return in a name", "9110 5.1", get!("/v1/a", "X-\rProbe: b\r\n"), "400 closed"),
    row("a name outside ASCII", "9110 5.1", get!("/v1/a", "X-Prob\u{e9}: b\r\n"), "400 closed")
        .nginx("GET /v1/a a none", DROPPED),
    row("an empty name", "9112 5", get!("/v1/a", ": b\r\n"), "400 closed"),
    row("a line without a colon", "9112 5", get!("/v1/a", "X-Probe\r\n"), "400 closed")
        .nginx("GET /v1/a a none x-probe=[]", COLON),
    row("a request line among the fields", "9112 5", get!("/v1/a", "GET /v1/b HTTP/1.1\r\n"), "400 closed"),
    row(
        "a space before the first field",
        "9112 2.2",
        b"GET /v1/a HTTP/1.1\r\n X-Probe: b\r\nHost: a\r\n\r\n",
        "400 closed",
    ),
    row(
        "a field that Connection names",
        "9110 7.6.1",
        get!("/v1/a", "Connection: X-Probe\r\nX-Probe: b\r\n"),
        "GET /v1/a a none",
    )
    .both("GET /v1/a a none x-probe=[b]", HOP),
    row(
        "a host that Connection names",
        "9110 7.6.1",
        get!("/v1/a", "Connection: Host\r\n"),
        "GET /v1/a a none",
    ),
    row(
        "fields of one hop",
        "9110 7.6.1",
        get!(
            "/v1/a",
            "Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Probe\r\n"
        ),
        "GET /v1/a a none",
    )
    .nginx("GET /v1/a a none hop:proxy-connection hop:trailer", HOP)
    .haproxy("GET /v1/a a none hop:keep-alive hop:proxy-connection hop:te hop:trailer", HOP),
    row(
        "credentials for a proxy",
        "9110 11.7.2",
        get!("/v1/a", "Proxy-Authorization: Basic YTpi\r\n"),
        "GET /v1/a a none",
    )
    .both("GET /v1/a a none hop:proxy-authorization", HOP),
    row(
        "close in two fields",
        "9110 7.6.1",
        get!("/v1/a", "Connection: x\r\nConnection: y, Close\r\n"),
        "GET /v1/a a none closed",
    ),
    row("a field of 40 KiB", "6585 5", get!("/v1/a", "X-Probe: @@\r\n"), "431 closed")
        .grown(40_960)
        .stricter("`limits.header_bytes` is 32 KiB unless configured"),
    row("a name of 40 KiB", "6585 5", get!("/v1/a", "@@: b\r\n"), "431 closed")
        .grown(40_960)
        .stricter("`limits.header_bytes` is 32 KiB unless configured"),
];
