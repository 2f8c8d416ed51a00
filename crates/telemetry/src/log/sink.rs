//! Where lines end up: a descriptor that takes whole lines, and mends what a failed write tore.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long to wait when a descriptor that somebody made non-blocking takes nothing.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// Where a log goes.
#[derive(Clone, Debug)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Nowhere: lines are not even formatted.
    None,
    /// A file, made with mode 0640 if there is none, appended to, opened anew by `reopen`.
    File(PathBuf),
    /// Something that is open already, such as the writing end of a pipe.
    Open(Arc<File>),
}

impl Output {
    /// What events call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdout => "stdout".into(),
            Self::Stderr => "stderr".into(),
            Self::None => "none".into(),
            Self::File(path) => path.display().to_string(),
            Self::Open(_) => "descriptor".into(),
        }
    }

    /// Standard streams are duplicated and written without std's line buffer. Rust's runtime ignores SIGPIPE, so
    /// that a reader that has gone is an error like any other; a host program in another language must as well.
    fn open(&self) -> io::Result<Option<Arc<File>>> {
        match self {
            Self::None => Ok(None),
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned().map(|fd| Some(Arc::new(fd.into()))),
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned().map(|fd| Some(Arc::new(fd.into()))),
            Self::File(path) => {
                refuse_unread_pipe(path)?;
                let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path)?;
                Ok(Some(Arc::new(file)))
            }
            Self::Open(file) => Ok(Some(Arc::clone(file))),
        }
    }
}

/// Opening a pipe that nobody reads waits for a reader, without a word and perhaps for ever.
fn refuse_unread_pipe(path: &Path) -> io::Result<()> {
    const O_NONBLOCK: i32 = 0o4000;
    if !std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        return Ok(());
    }
    match OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path) {
        Ok(_reader_is_there) => Ok(()),
        Err(_) => Err(io::Error::new(
            ErrorKind::NotConnected,
            format!("nobody reads the pipe {}; start its reader first", path.display()),
        )),
    }
}

/// An output that is open.
pub(super) struct Sink {
    output: Output,
    file: Option<Arc<File>>,
    /// The last write ended within a line.
    torn: bool,
}

/// A write that failed, and how many lines went with it.
pub(super) struct Lost {
    pub(super) cause: io::Error,
    pub(super) lines: u64,
}

impl Sink {
    pub(super) fn open(output: Output) -> io::Result<Self> {
        let file = output.open()?;
        Ok(Self { output, file, torn: false })
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// Opens a file again that was moved away; other outputs cannot be. On an error the old one stays.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if matches!(self.output, Output::File(_)) {
            *self = Self::open(self.output.clone())?;
        }
        Ok(())
    }

    /// Writes whole lines. What a failure leaves unwritten is lost: keeping it would only make more lines
    /// wait. A line that it tore is ended before the next one, so that at most one line is unreadable.
    pub(super) fn write_lines(&mut self, lines: &[u8], go_on: impl Fn() -> bool) -> Result<(), Lost> {
        let Some(file) = &self.file else { return Ok(()) };
        let mend: &[u8] = if self.torn { b"\n" } else { b"" };
        let (mut rest, mut mending) = (lines, mend);
        while !rest.is_empty() {
            let part = if mending.is_empty() { rest } else { mending };
            match file.as_ref().write(part) {
                Ok(0) => return Err(self.lost(lines, rest, ErrorKind::WriteZero.into())),
                Ok(written) if mending.is_empty() => rest = &rest[written..],
                Ok(_) => {
                    mending = b"";
                    self.torn = false;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && go_on() => {
                    thread::park_timeout(RETRY_AFTER);
                }
                Err(cause) => return Err(self.lost(lines, rest, cause)),
            }
        }
        Ok(())
    }

    fn lost(&mut self, lines: &[u8], rest: &[u8], cause: io::Error) -> Lost {
        let written = &lines[..lines.len() - rest.len()];
        if let Some(last) = written.last() {
            self.torn = *last != b'\n';
        }
        Lost { cause, lines: count_lines(rest) }
    }
}

pub(super) fn count_lines(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}
