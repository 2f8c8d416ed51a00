//! Prometheus' own checker of metrics, for the test that shows it a scrape.
//!
//! Debian has it in the package `prometheus`, whose installation would bring 300 MB and start a server on port 9090. So the
//! package is only fetched (19 MB) and the one program taken out of it. Where that does not work the test says that it
//! was skipped: the text is read strictly by other tests too, so nobody has to have this.

use crate::{setup, shell};
use std::{fs, path::Path};

const PROBE: &[&str] = &["promtool", "--version"];

/// Puts it into `target/tools/promtool/bin`, unless it is there. Says what went wrong, and fails nothing.
pub(crate) fn install_if_possible(root: &Path) {
    if shell::answers(root, PROBE) {
        return;
    }
    if let Err(reason) = install(root) {
        println!("no promtool ({reason}); the test that needs it will say that it is skipped");
    }
}

fn install(root: &Path) -> Result<(), String> {
    if !shell::answers(root, &["apt-get", "--version"]) {
        return Err("there is no apt-get to fetch it with".to_owned());
    }
    let folder = shell::tools_dir(root).join("promtool");
    let unpacked = folder.join("unpacked");
    // Left-overs of a run that was interrupted would be mixed up with what comes now.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("bin")).map_err(|error| error.to_string())?;
    if setup::is_root(root) {
        // A fresh image knows no packages at all until it has read the lists.
        shell::run(shell::command(root, "apt-get", &["update", "-qq"]))?;
    }
    let mut download = shell::command(root, "apt-get", &["download", "-qq", "prometheus"]);
    download.current_dir(&folder);
    shell::run(download)?;
    let entries = fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let mut packages = entries.flatten().map(|entry| entry.path());
    let package = packages.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let package = package.ok_or("apt-get downloaded nothing")?;
    let mut unpack = shell::command(root, "dpkg-deb", &["-x"]);
    unpack.arg(&package).arg(&unpacked);
    shell::run(unpack)?;
    let moved = fs::rename(unpacked.join("usr/bin/promtool"), folder.join("bin/promtool"));
    moved.map_err(|error| format!("the package has no promtool: {error}"))?;
    // What is not needed any more takes 80 MB; that it stays would be no failure.
    let _ = fs::remove_dir_all(&unpacked);
    let _ = fs::remove_file(&package);
    if shell::answers(root, PROBE) { Ok(()) } else { Err("it does not start".to_owned()) }
}
