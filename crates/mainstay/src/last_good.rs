//! The last good configuration on disk: what a restart with a bad file starts from, and which dates were published.
//!
//! One file beside the configuration, written by rename so that it is never half there, readable by the owner
//! only because substituted values may be secrets.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstay_config::Published;
use mainstay_config::checked::Checked;
use serde::{Deserialize, Serialize};

/// Layout of the file; another number is not read.
const FORMAT: u32 = 3;

/// What is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub struct LastGood {
    format: u32,
    /// When it was loaded, Unix seconds.
    pub loaded_at_s: i64,
    /// Every sunset that was ever served, the latest date of each.
    pub published: Published,
    /// The configuration.
    pub checked: Checked,
}

/// `mainstay.yaml` -> `mainstay.last-good.json`, beside it.
pub fn path_for(config: &Path) -> PathBuf {
    config.with_extension("last-good.json")
}

/// Writes it.
///
/// # Errors
/// What the file system says; the old file is then still whole.
pub fn save(path: &Path, checked: &Checked, published: &Published, loaded_at_s: i64) -> io::Result<()> {
    let last =
        LastGood { format: FORMAT, loaded_at_s, published: published.clone(), checked: checked.clone() };
    let text = serde_json::to_vec(&last)?;
    let new = path.with_extension("json.new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Reads it; `None` when there is none.
///
/// # Errors
/// It is there and cannot be used.
pub fn load(path: &Path) -> io::Result<Option<LastGood>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let last: LastGood = serde_json::from_slice(&text)?;
    if last.format == FORMAT { Ok(Some(last)) } else { Err(io::Error::other("written by another release")) }
}
