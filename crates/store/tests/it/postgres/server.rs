//! A server that belongs to one test, because the test takes it away.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `nobody`: PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;

pub(super) struct Server {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
    running: Option<Child>,
}

impl Server {
    /// `None`: there are no tests with PostgreSQL in this run.
    pub(super) fn start() -> Option<Self> {
        crate::rig::postgres_server()?;
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, programs: programs(), port, running: None };
        let mut make = server.command("initdb");
        make.args(["-U", "mainstay", "-A", "trust", "-E", "UTF8", "--locale=C"]).arg("-D").arg(server.data());
        assert!(make.stdout(Stdio::null()).status().unwrap().success());
        server.run();
        Some(server)
    }

    /// With its writes to the disk, as a real one.
    pub(super) fn run(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-c", "listen_addresses=127.0.0.1", "-p", &self.port.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(command.spawn().unwrap());
    }

    /// Ends all its processes at once, as a crash would; what is not on the disk is lost.
    pub(super) fn crash(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        let quit = Command::new("kill").args(["-QUIT", &running.id().to_string()]).status();
        assert!(quit.unwrap().success());
        running.wait().unwrap();
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://mainstay@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.crash();
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Debian keeps each version in a folder of its own; the newest is taken.
fn programs() -> PathBuf {
    let version = |folder: &Path| folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let versions = fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql is installed");
    let folders =
        versions.map(|entry| entry.unwrap().path()).filter(|path| path.join("bin/postgres").exists());
    folders.max_by_key(|path| version(path)).expect("a version of PostgreSQL").join("bin")
}
