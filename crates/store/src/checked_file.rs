//! A file of lines that is there as a whole or not at all, and says whether it is what was written.
//!
//! It is written beside its place, with mode 0600, and takes it when everything is on the disk. The last line counts the
//! lines before it and has the SHA-256 of their bytes.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use mainstay_core::catalogue::StoreError;
use serde::{Deserialize, Serialize};

use crate::seal::sync_folder;

/// No line of ours is longer: a record has bounds.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct End {
    lines: u64,
    sha256: String,
}

/// Writes a file.
pub(crate) struct Writer {
    file: BufWriter<File>,
    digest: digest::Context,
    lines: u64,
    path: PathBuf,
    temporary: PathBuf,
}

/// What to do about a file that is there already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Replace,
    Refuse,
}

impl Writer {
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".writing.{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let _ = fs::remove_file(&temporary);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = opened.map_err(|error| failed(&temporary, &error))?;
        Ok(Self {
            file: BufWriter::with_capacity(64 * 1024, file),
            digest: digest::Context::new(&digest::SHA256),
            lines: 0,
            path: path.to_owned(),
            temporary,
        })
    }

    pub(crate) fn line<T: Serialize>(&mut self, value: &T) -> Result<(), StoreError> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| StoreError::Invalid { field: "record", why: error.to_string() })?;
        line.push(b'\n');
        self.digest.update(&line);
        self.lines += 1;
        self.file.write_all(&line).map_err(|error| failed(&self.temporary, &error))
    }

    /// How many there are.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    /// Writes the end, waits for the disk, and puts the file in its place.
    pub(crate) fn finish(mut self, existing: Existing) -> Result<(), StoreError> {
        let sha256 = hex::encode(self.digest.clone().finish());
        self.line(&End { lines: self.lines, sha256 })?;
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| failed(&self.temporary, &error))?;
        let placed = match existing {
            Existing::Replace => fs::rename(&self.temporary, &self.path),
            Existing::Refuse => fs::hard_link(&self.temporary, &self.path),
        };
        match placed {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                return Err(StoreError::Conflict {
                    what: format!("{} is there already", self.path.display()),
                });
            }
            other => other.map_err(|error| failed(&self.path, &error))?,
        }
        sync_folder(&self.path).map_err(|error| failed(&self.path, &error))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

/// Reads a file that is known to be whole.
pub(crate) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    /// Lines before the last one, which belongs to this file alone.
    lines: u64,
}

impl Reader {
    /// Reads it from end to end, and refuses one that is not what was written.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| failed(path, &error))?;
        let mut reader =
            Self { file: BufReader::with_capacity(64 * 1024, file), path: path.to_owned(), lines: 0 };
        let mut digest = digest::Context::new(&digest::SHA256);
        let mut line = reader.read_line()?.ok_or_else(|| reader.damaged("it is empty"))?;
        while let Some(next) = reader.read_line()? {
            digest.update(&line);
            reader.lines += 1;
            line = next;
        }
        let end: End = serde_json::from_slice(&line).map_err(|_| reader.damaged("its end is missing"))?;
        if end.lines != reader.lines || end.sha256 != hex::encode(digest.finish()) {
            return Err(reader.damaged("it is not what was written: the checksum at its end does not fit"));
        }
        Ok(reader)
    }

    /// Hands every line to `visit`. Can be done again.
    pub(crate) fn each(
        &mut self,
        mut visit: impl FnMut(u64, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.rewind()?;
        for number in 0..self.lines {
            let line = self.next_line()?;
            visit(number, &line)?;
        }
        Ok(())
    }

    pub(crate) fn rewind(&mut self) -> Result<(), StoreError> {
        self.file.rewind().map_err(|error| failed(&self.path, &error))
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn next_line(&mut self) -> Result<Vec<u8>, StoreError> {
        self.read_line()?.ok_or_else(|| self.damaged("it has become shorter"))
    }

    pub(crate) fn damaged(&self, why: &str) -> StoreError {
        StoreError::Damaged { what: format!("{}: {why}", self.path.display()) }
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.file).take(LINE_BYTES_MAX);
        let read = bounded.read_until(b'\n', &mut line).map_err(|error| failed(&self.path, &error))?;
        if read > 0 && line.last() != Some(&b'\n') {
            return Err(self.damaged("it is cut off, or is no file of this kind"));
        }
        Ok((read > 0).then_some(line))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { cause: format!("{}: {error}", path.display()) }
}
