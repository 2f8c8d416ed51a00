//! The files of a folder with policies.

use std::path::Path;

use crate::checked::PolicyFile;
use crate::store::{Disk, ReadError, Store};

/// Files of one folder. The policies themselves have bounds of their own.
const FILES_MAX: usize = 2_000;
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Why a folder cannot be used.
#[derive(Debug)]
pub struct NoPolicies {
    /// One sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// Reads all policies of a folder as they are on disk now: `FOLDER/*/*.cedar`.
///
/// # Errors
/// A folder or a file that cannot be read, or a file where nobody would look for it. What is left out would be a rule that
/// does not hold, so all of it is refused.
pub fn read_policies(folder: &Path) -> Result<Vec<PolicyFile>, NoPolicies> {
    read(folder, &Disk)
}

pub(crate) fn read(folder: &Path, store: &dyn Store) -> Result<Vec<PolicyFile>, NoPolicies> {
    let no = |message: String, help: &str| Err(NoPolicies { message, help: help.to_owned() });
    let shown = folder.display();
    if !store.is_folder(folder) {
        return no(
            format!("there is no folder {shown}"),
            "make it: without a policy in it, scopes alone decide",
        );
    }
    let find = |pattern| {
        let refused =
            |why| NoPolicies { message: format!("{shown} cannot be read: {why}"), help: String::new() };
        store.glob(folder, pattern, FILES_MAX).map_err(refused)
    };
    if let Some(path) = find("*.cedar")?.first() {
        let help = "put it into the folder of its api, such as `payments/`, or into `_all/`";
        return no(format!("{} is in no api's folder", path.display()), help);
    }
    let paths = find("*/*.cedar")?;
    if paths.len() > FILES_MAX {
        return no(
            format!("{shown} has more than {FILES_MAX} files with policies"),
            "put more policies into one file",
        );
    }
    let mut files = Vec::new();
    for path in paths {
        let in_folder =
            path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let text = match store.read(&path, FILE_BYTES_MAX) {
            Ok(text) => text,
            Err(error) => {
                let why = match error {
                    ReadError::Unreadable(why) => why,
                    ReadError::TooLarge => "it is larger than 256 KiB".to_owned(),
                    ReadError::NotUtf8(line) => format!("line {line} is no UTF-8"),
                };
                return no(
                    format!("{} cannot be read: {why}", path.display()),
                    "a rule that is left out does not hold",
                );
            }
        };
        files.push(PolicyFile { folder: in_folder.unwrap_or_default(), path, text });
    }
    Ok(files)
}
