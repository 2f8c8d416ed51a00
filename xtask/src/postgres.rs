//! A PostgreSQL server for the tests of one run: made new, on loopback, by a user that is not root, gone at the end.
//!
//! Tests find it by `MAINSTAY_TEST_POSTGRES` and make a database of their own each. Nothing that it holds is worth a write to
//! the disk, so it waits for none; tests that crash a server start one themselves.

use crate::{setup, shell};
use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What the tests read.
pub(crate) const VARIABLE: &str = "MAINSTAY_TEST_POSTGRES";
/// Debian keeps each version's programs in a folder of its own.
const VERSIONS: &str = "/usr/lib/postgresql";
/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;
/// A socket's path has 107 bytes at most, its name included.
const SOCKET_FOLDER_BYTES_MAX: usize = 80;

/// A server that ends with this.
pub(crate) struct Server {
    running: Child,
    folder: PathBuf,
    port: u16,
}

impl Server {
    pub(crate) fn start(root: &Path) -> Result<Self, String> {
        let programs = programs(Path::new(VERSIONS))?;
        let unprivileged = setup::is_root(root).then_some(NOBODY);
        let folder = new_folder(root, unprivileged)?;
        let data = folder.join("data");
        let mut make = command(&programs.join("initdb"), &folder, unprivileged);
        make.args(["-U", "mainstay", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
            .arg("-D")
            .arg(&data);
        let made = make.stdout(Stdio::null()).status().map_err(|error| format!("initdb: {error}"))?;
        if !made.success() {
            return Err(format!("initdb ended with {made}"));
        }
        let port = free_port()?;
        let mut serve = command(&programs.join("postgres"), &folder, unprivileged);
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        serve.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=500"]);
        serve.arg("-k").arg(if folder.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
            folder.as_path()
        } else {
            Path::new("")
        });
        let log = fs::File::create(folder.with_extension("log")).map_err(|error| error.to_string())?;
        let running = serve.stdout(Stdio::null()).stderr(log).spawn();
        let running = running.map_err(|error| format!("postgres did not start: {error}"))?;
        let mut server = Self { running, folder, port };
        server.wait_until_it_answers(&programs)?;
        println!("PostgreSQL for the tests: {}", server.url());
        Ok(server)
    }

    /// Without a database: each test adds its own.
    pub(crate) fn url(&self) -> String {
        format!("postgres://mainstay@127.0.0.1:{}", self.port)
    }

    fn wait_until_it_answers(&mut self, programs: &Path) -> Result<(), String> {
        loop {
            // It waits up to a second itself.
            let mut ask = Command::new(programs.join("pg_isready"));
            ask.args(["-q", "-t", "1", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ask.status().map_err(|error| format!("pg_isready: {error}"))?.success() {
                return Ok(());
            }
            if let Some(ended) = self.running.try_wait().map_err(|error| error.to_string())? {
                let log = fs::read_to_string(self.folder.with_extension("log")).unwrap_or_default();
                return Err(format!("postgres ended with {ended}:\n{log}"));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At once and with all its processes: nothing it holds is needed any more.
        let quit = Command::new("kill").args(["-QUIT", &self.running.id().to_string()]).status();
        if quit.is_ok_and(|status| status.success()) {
            let _ = self.running.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn command(program: &Path, folder: &Path, unprivileged: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdin(Stdio::null());
    if let Some(user) = unprivileged {
        command.uid(user).gid(user);
    }
    command
}

/// The newest version there is.
fn programs(versions: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(versions).into_iter().flatten().flatten().map(|entry| entry.path());
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = entries.filter(|path| path.join("bin/postgres").exists()).max_by_key(number);
    newest.map(|path| path.join("bin")).ok_or_else(|| {
        format!("there is no PostgreSQL below {}; install Debian's package postgresql", versions.display())
    })
}

/// Below `target`, unless the user that the server runs as cannot get there.
fn new_folder(root: &Path, unprivileged: Option<u32>) -> Result<PathBuf, String> {
    let below = root.join("target").join("tmp");
    fs::create_dir_all(&below).map_err(|error| format!("{}: {error}", below.display()))?;
    let reachable = unprivileged.is_none() || below.ancestors().all(others_may_enter);
    let parent = if reachable { below } else { std::env::temp_dir() };
    let folder = parent.join(format!("postgres-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let made = fs::create_dir(&folder)
        .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)));
    made.map_err(|error| format!("{}: {error}", folder.display()))?;
    if unprivileged.is_some() {
        let owned = std::os::unix::fs::chown(&folder, unprivileged, unprivileged);
        owned.map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(folder)
}

fn others_may_enter(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

fn free_port() -> Result<u16, String> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| format!("no free port: {error}"))
}

/// Whether a server could be started here.
pub(crate) fn is_installed() -> bool {
    programs(Path::new(VERSIONS)).is_ok()
}

/// A command of cargo that runs tests, told where the server is.
pub(crate) fn run_with(server: &Server, mut tests: Command) -> Result<(), String> {
    tests.env(VARIABLE, server.url());
    shell::run(tests)
}

#[cfg(test)]
mod tests {
    use super::{Server, is_installed, programs};
    use std::{fs, net::TcpStream, path::Path};

    #[test]
    fn a_server_answers_until_it_is_dropped() {
        if !is_installed() {
            println!("SKIPPED: there is no PostgreSQL here; `cargo xtask test` installs it");
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
        let server = Server::start(root).expect("it starts");
        let address = server.url().rsplit('@').next().expect("an address").to_owned();
        let folder = server.folder.clone();
        assert!(TcpStream::connect(&address).is_ok() && folder.exists());
        drop(server);
        assert!(TcpStream::connect(&address).is_err() && !folder.exists());
    }

    #[test]
    fn the_newest_version_is_taken_by_its_number() {
        let folder = std::env::temp_dir().join(format!("xtask-postgres-{}", std::process::id()));
        for version in ["9", "15", "16-without"] {
            fs::create_dir_all(folder.join(version).join("bin")).expect("a temporary folder");
        }
        assert!(programs(&folder).is_err_and(|why| why.contains("install")));
        for version in ["9", "15"] {
            fs::write(folder.join(version).join("bin/postgres"), "").expect("a temporary file");
        }
        assert_eq!(programs(&folder), Ok(folder.join("15/bin")));
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
