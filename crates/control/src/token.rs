//! The admin token: one line in a file that only its owner can read.
//!
//! The secret has no `Display`, its `Debug` hides it, and it is compared in constant time. A file that others can
//! read is refused rather than repaired: whoever could read it may have done so already.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use http::HeaderValue;

/// Random bytes in a token made here.
const RANDOM_BYTES: usize = 32;
/// What a token brought by the operator may be long: shorter ones could be guessed.
const LENGTH_MIN: usize = 32;
const LENGTH_MAX: usize = 512;

/// The secret that opens the admin API.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl Token {
    /// Reads the token, or makes the file with a new one; `true` says that it was made now.
    ///
    /// # Errors
    /// When the file cannot be read or made, is open to others, or holds no token; the message says what to do.
    pub fn load_or_create(path: &Path) -> Result<(Self, bool), TokenError> {
        match Self::create(path) {
            Ok(token) => Ok((token, true)),
            Err(TokenError::NotCreated { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok((Self::load(path)?, false))
            }
            // The folder may be read-only while the file in it was put there by someone else.
            Err(refused) => match Self::load(path) {
                Ok(token) => Ok((token, false)),
                Err(TokenError::Missing { .. }) => Err(refused),
                Err(other) => Err(other),
            },
        }
    }

    /// Reads the token of an engine that has been started before.
    ///
    /// # Errors
    /// As [`Token::load_or_create`], and [`TokenError::Missing`] when there is no such file.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => TokenError::Missing { path: path.to_owned() },
            _ => TokenError::Unreadable { path: path.to_owned(), error },
        };
        // NONBLOCK: opening a pipe must not wait for somebody to write into it.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        // Asked of the open file, not of the path: the path may mean another file by now.
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(TokenError::Malformed { path: path.to_owned(), why: "it is not a regular file" });
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::OpenToOthers { path: path.to_owned(), mode });
        }
        let mut line = Vec::with_capacity(128);
        file.take(LENGTH_MAX as u64 + 3).read_to_end(&mut line).map_err(failed)?;
        Self::parse(&line).map_err(|why| TokenError::Malformed { path: path.to_owned(), why })
    }

    /// Whether `presented` is this token. The time depends on the length of `presented` alone.
    #[must_use]
    pub fn matches(&self, presented: &[u8]) -> bool {
        let mut difference = self.0.len() ^ presented.len();
        for (byte, own) in presented.iter().zip(self.0.iter().cycle()) {
            // The barrier keeps the compiler from leaving the loop at the first difference.
            difference = black_box(difference | usize::from(byte ^ own));
        }
        difference == 0
    }

    /// The `Authorization` header that presents it, kept out of `Debug` output by its mark.
    pub(crate) fn authorization(&self) -> HeaderValue {
        let line = [b"Bearer ", &self.0[..]].concat();
        let mut value = HeaderValue::from_bytes(&line).expect("a token holds visible ASCII only");
        value.set_sensitive(true);
        value
    }

    fn create(path: &Path) -> Result<Self, TokenError> {
        let failed = |error| TokenError::NotCreated { path: path.to_owned(), error };
        // `create_new` is O_EXCL: it never writes into, or follows a link to, something that is there.
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let written = random_token().and_then(|token| {
            file.write_all(&token.0)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            Ok(token)
        });
        written.map_err(|error| {
            // A half-written file would be refused at the next start; the failure to remove it adds nothing.
            let _ = std::fs::remove_file(path);
            failed(error)
        })
    }

    fn parse(line: &[u8]) -> Result<Self, &'static str> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // The characters of a bearer token (RFC 6750, section 2.1).
        let well_formed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(b);
        match line.len() {
            0 => Err("it is empty"),
            1..LENGTH_MIN => Err("its token has fewer than 32 characters"),
            LENGTH_MIN..=LENGTH_MAX if line.iter().all(well_formed) => Ok(Self(line.into())),
            LENGTH_MIN..=LENGTH_MAX => Err("it is not one line of letters, digits and - . _ ~ + / ="),
            _ => Err("its token has more than 512 characters"),
        }
    }
}

/// Random bytes of the operating system, fit for secrets.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut random = [0_u8; N];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random)
}

fn random_token() -> io::Result<Token> {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let random = random_bytes::<RANDOM_BYTES>()?;
    let digits = random.iter().flat_map(|b| [HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
    Ok(Token(digits.collect()))
}

/// Why there is no token; each says what to do.
#[derive(Debug)]
pub enum TokenError {
    /// There is no file, and the caller may not make one.
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refused to read it.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The system refused to make it.
    NotCreated {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Its mode lets others read or write it.
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds no token.
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { path } => write!(
                f,
                "there is no token file {}: start the engine once, or name the file with --token-file",
                path.display()
            ),
            Self::Unreadable { path, error } => {
                write!(f, "cannot read the token file {}: {error}", path.display())
            }
            Self::NotCreated { path, error } => write!(
                f,
                "cannot make the token file {}: {error}; set control.token_file to a place the engine can write",
                path.display()
            ),
            Self::OpenToOthers { path, mode } => write!(
                f,
                "others may read or write the token file {path} (mode {mode:04o}): remove it, so that the next start \
                 makes a new token, or run chmod 600 {path} if nobody can have seen it",
                path = path.display()
            ),
            Self::Malformed { path, why } => write!(
                f,
                "the token file {} is not usable, {why}: remove it, so that the next start makes a new one",
                path.display()
            ),
        }
    }
}

impl std::error::Error for TokenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } | Self::NotCreated { error, .. } => Some(error),
            Self::Missing { .. } | Self::OpenToOthers { .. } | Self::Malformed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
