//! One process at a time: a lock on a file beside the database.
//!
//! The kernel's lock (`flock`) goes when the process does, however it dies. The file stays; the number in it is only for
//! people.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use mainstay_core::catalogue::StoreError;

/// Holds the files of a store for this process, until it is dropped.
#[derive(Debug)]
pub struct FileLock {
    /// Closing it gives the lock up.
    _file: File,
}

impl FileLock {
    /// Where the lock of a database file lies.
    pub fn path_of(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        PathBuf::from(name)
    }

    /// Takes the lock of a database file, or says who has it. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::Locked`], or [`StoreError::Unavailable`] when there can be no file.
    pub fn take(database: &Path) -> Result<Self, StoreError> {
        let path = Self::path_of(database);
        let failed = |error: &std::io::Error| StoreError::Unavailable {
            cause: format!("{}: {error}", path.display()),
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { by: held(&path, database, &mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(failed(&error)),
        }
        let written = file.set_len(0).and_then(|()| file.rewind());
        written.and_then(|()| writeln!(file, "{}", std::process::id())).map_err(|error| failed(&error))?;
        Ok(Self { _file: file })
    }
}

fn held(lock: &Path, database: &Path, file: &mut File) -> String {
    let mut text = String::new();
    let _ = file.take(32).read_to_string(&mut text);
    let holder = match text.trim() {
        "" => "another process".to_owned(),
        pid => format!("process {pid}"),
    };
    format!(
        "{} is in use by {holder} (it holds {}); stop it, or ask it through the admin API",
        database.display(),
        lock.display()
    )
}
