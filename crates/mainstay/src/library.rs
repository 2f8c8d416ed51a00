//! The engine within a Rust program: built from a configuration, with services of the program behind it.
//!
//! The engine brings what it runs on: its workers, a thread for the control side, and threads for services where there are
//! any. So it starts from any executor, and nothing that the program's own runtime does can hold it up.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_config::Problem;
use mainstay_core::clock::Clock;
use mainstay_core::port::Loaded;
use mainstay_telemetry::Output;
use tokio::sync::{mpsc, oneshot, watch};

use crate::compose::{self, StartError, available_workers, load_with};
use crate::local::{Given, LocalService, Services, given, given_per_worker};
use crate::lower;
use crate::reload::Loader;

/// Calls that may wait for the engine.
const CALLS_WAITING_MAX: usize = 16;
/// Threads of the control side that may block: loading, and the log.
const BLOCKING_THREADS_MAX: usize = 4;

/// What an engine is made of, before it starts.
#[must_use = "nothing runs before `start`"]
pub struct Builder {
    from: From,
    folder: PathBuf,
    events: Output,
    given: Vec<Given>,
}

enum From {
    File(PathBuf),
    Text(String),
}

impl Builder {
    /// Relative names in a configuration that is a text are relative to this folder, the admin token's among them.
    /// Without it, to the folder that the process is in. Names in a file are relative to the file.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Where the engine's events go; without it, to standard error, as those of the binary do.
    pub fn events(mut self, output: Output) -> Self {
        self.events = output;
        self
    }

    /// A service for the endpoint `local:NAME`. Its futures run on threads of their own, as many as the engine has
    /// workers, with tokio's I/O and timers; each connection has a clone of the service, and each request a clone of that.
    ///
    /// The service is an upstream: it sees the request as any upstream would, after the engine's policies, and what it
    /// answers passes the same limits and timeouts. When the client leaves or a deadline ends, its future is dropped; that
    /// of an unsafe request (`POST` and the like) runs on for `timeouts.settle`. A panic is a 502 `local_service_failed`.
    pub fn local<S>(mut self, name: impl Into<String>, service: S) -> Self
    where
        S: LocalService + Send,
        S::Future: Send,
        S::ResponseBody: Send,
        <S::ResponseBody as http_body::Body>::Data: Send,
    {
        self.given.push(given(name.into(), service));
        self
    }

    /// The same for a service that cannot go to another thread. Each worker makes an instance when it first needs one, and
    /// the service runs on the worker itself, so it must never block: whatever it does between two waits, all clients of
    /// that worker wait for.
    pub fn local_per_worker<F, S>(mut self, name: impl Into<String>, factory: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: LocalService,
    {
        self.given.push(given_per_worker(name.into(), factory));
        self
    }

    /// Starts. When this returns, every listener takes connections.
    ///
    /// # Errors
    /// Nothing runs then; see [`Error`].
    pub async fn start(self) -> Result<Engine, Error> {
        let (tell, started) = oneshot::channel();
        let run = move || match control_runtime() {
            Ok(runtime) => {
                runtime.block_on(self.run(tell));
                runtime.shutdown_background();
            }
            // A receiver that is gone has nobody to tell.
            Err(error) => drop(tell.send(Err(StartError::Threads(error).into()))),
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(run);
        thread.map_err(StartError::Threads)?;
        let gone = || StartError::Threads(io::Error::other("the control side's thread has ended"));
        started.await.map_err(|_| gone())?
    }

    async fn run(self, tell: oneshot::Sender<Result<Engine, Error>>) {
        let (engine, problems) = match self.compose().await {
            Ok(composed) => composed,
            Err(error) => return drop(tell.send(Err(error))),
        };
        let (calls, inbox) = mpsc::channel(CALLS_WAITING_MAX);
        let (end, ended) = watch::channel(None);
        let face = Face { listen: engine.listen.clone(), control: engine.control, problems, calls, ended };
        // Who does not wait for the start any more drops the only way to ask for anything, which ends the engine.
        drop(tell.send(Ok(Engine(Arc::new(face)))));
        let how = attend(&engine, inbox).await;
        engine.stop().await;
        end.send_replace(Some(how));
    }

    async fn compose(self) -> Result<(compose::Engine, Vec<Problem>), Error> {
        let Self { from, folder, events, given } = self;
        let loader = match from {
            From::File(path) => Loader::new(path),
            From::Text(text) => Loader::from_text(&text, &folder),
        };
        let path = loader.path.clone();
        named_once(&given)?;
        let loaded = load_with(loader, Clock::System).map_err(Error::Configuration)?;
        let workers = loaded.start.checked.server.workers.unwrap_or_else(available_workers);
        let services = Services::start(given, workers).map_err(StartError::Threads)?;
        let missing = lower::missing_locals(&loaded.start.checked, services.dialers());
        if !missing.is_empty() {
            let problems = missing.iter().map(|error| error.problem(&path));
            return Err(Error::Configuration(problems.collect()));
        }
        let start = compose::Start { events, services, ..loaded.start };
        match compose::Engine::start(start).await {
            Ok(engine) => Ok((engine, loaded.problems)),
            Err(StartError::Lower(error)) => Err(Error::Configuration(vec![error.problem(&path)])),
            Err(error) => Err(error.into()),
        }
    }
}

fn control_runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build()
}

fn named_once(given: &[Given]) -> Result<(), Error> {
    let mut names: Vec<_> = given.iter().map(|given| given.name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).filter(|pair| pair[0] == pair[1]);
    let problem = |pair: &[&str]| {
        Problem::error("local_service_twice", format!("two services have the name `{}`", pair[0]))
    };
    let problems: Vec<_> = twice.map(problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Configuration(problems)) }
}

/// Why an engine did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is not one to serve by: everything that is wrong with it, as `mainstay check` tells it.
    Configuration(Vec<Problem>),
    /// What it asks for cannot be had: an address, a file, a thread.
    Start(StartError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(problems) => f.write_str(&mainstay_config::render_text(problems)),
            // With its place, as the binary shows it.
            Self::Start(StartError::Bind(problem)) => {
                f.write_str(&mainstay_config::render_text(std::slice::from_ref(problem)))
            }
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Configuration(_) => None,
            Self::Start(error) => Some(error),
        }
    }
}

impl std::convert::From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything that ran was finished.
    Drained,
    /// Something was cut off: the time was up, or the engine was stopped.
    CutShort,
}

/// A running engine. Clones are the same engine; when the last one is dropped, it ends at once.
#[derive(Clone)]
pub struct Engine(Arc<Face>);

struct Face {
    listen: Vec<SocketAddr>,
    control: SocketAddr,
    problems: Vec<Problem>,
    calls: mpsc::Sender<Call>,
    ended: watch::Receiver<Option<Ended>>,
}

enum Call {
    Reload(Option<String>, oneshot::Sender<Result<Loaded, Vec<Problem>>>),
    ShutDown(Option<Duration>),
    Stop,
}

impl Engine {
    /// An engine whose configuration is a file, read again by each reload. The last good one is kept on disk beside it and
    /// used when a start meets a bad one, as the binary does it; [`Self::problems`] then has errors.
    pub fn from_file(path: impl AsRef<Path>) -> Builder {
        Builder::new(From::File(path.as_ref().to_owned()))
    }

    /// An engine whose configuration is this text. What the text names (documents, certificates) is on the disk.
    pub fn from_text(text: impl Into<String>) -> Builder {
        Builder::new(From::Text(text.into()))
    }

    /// The addresses that it has listened on since its start, in the order of `server.listen`, with the ports that were
    /// really bound. Unix sockets have none.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.0.listen
    }

    /// The address of the control listener: metrics, health, the admin API.
    pub fn control_address(&self) -> SocketAddr {
        self.0.control
    }

    /// What loading found and serving does not need settled: warnings, or the errors of a file that the engine started
    /// without, from the last good one.
    pub fn problems(&self) -> &[Problem] {
        &self.0.problems
    }

    /// Loads the configuration again and takes it over, or changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub async fn reload(&self) -> Result<Loaded, Vec<Problem>> {
        self.reload_from(None).await
    }

    /// Takes over another text, or changes nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that this engine's configuration is a file.
    pub async fn reload_text(&self, text: impl Into<String>) -> Result<Loaded, Vec<Problem>> {
        self.reload_from(Some(text.into())).await
    }

    async fn reload_from(&self, text: Option<String>) -> Result<Loaded, Vec<Problem>> {
        let (tell, told) = oneshot::channel();
        // An engine that has ended drops the call, and with it the one who would answer.
        let _ = self.0.calls.send(Call::Reload(text, tell)).await;
        let ending = || vec![Problem::error("engine_ended", "the engine has ended, or is about to")];
        told.await.unwrap_or_else(|_| Err(ending()))
    }

    /// Ends in order, as `server.shutdown` says: not ready, a delay for load balancers, then nothing new is taken and what
    /// runs is finished. Returns when the engine has ended, whoever asked for it first.
    pub async fn shut_down(&self) -> Ended {
        self.ask_to_end(Call::ShutDown(None)).await
    }

    /// The same, in this time altogether. What still runs after it is cut off.
    pub async fn shut_down_within(&self, within: Duration) -> Ended {
        self.ask_to_end(Call::ShutDown(Some(within))).await
    }

    /// Ends at once, also in the middle of a shutdown: what runs is cut off.
    pub async fn stop(&self) -> Ended {
        self.ask_to_end(Call::Stop).await
    }

    async fn ask_to_end(&self, call: Call) -> Ended {
        // An engine that has ended takes no calls, and needs none.
        let _ = self.0.calls.send(call).await;
        self.wait().await
    }

    /// Waits until the engine has ended. It ends by [`Self::shut_down`] and its kind alone: the library has no signals.
    pub async fn wait(&self) -> Ended {
        let mut ended = self.0.ended.clone();
        let how = ended.wait_for(Option::is_some).await;
        // An error means that the control side's thread is gone.
        how.ok().and_then(|how| *how).unwrap_or(Ended::CutShort)
    }
}

impl Builder {
    fn new(from: From) -> Self {
        Self { from, folder: PathBuf::new(), events: Output::Stderr, given: Vec::new() }
    }
}

/// Does what is asked for, until the end is. Everything that ran has ended, or has had its time, when this returns.
async fn attend(engine: &compose::Engine, mut inbox: mpsc::Receiver<Call>) -> Ended {
    let within = loop {
        match inbox.recv().await {
            Some(Call::Reload(text, tell)) => {
                let handle = Arc::clone(&engine.handle);
                tokio::spawn(async move {
                    let loaded = match text {
                        None => handle.reload_now().await,
                        Some(text) => handle.reload_text(&text).await,
                    };
                    // Who does not wait any more has changed the engine all the same.
                    let _ = tell.send(loaded);
                });
            }
            Some(Call::ShutDown(within)) => break within,
            Some(Call::Stop) | None => return Ended::CutShort,
        }
    };
    tokio::select! {
        drained = engine.wind_down("shut_down", within) => if drained { Ended::Drained } else { Ended::CutShort },
        () = told_to_stop(&mut inbox) => Ended::CutShort,
    }
}

/// Waits for what cuts a drain short: a call, or nobody left who waits for it.
async fn told_to_stop(inbox: &mut mpsc::Receiver<Call>) {
    while let Some(call) = inbox.recv().await {
        if let Call::Stop = call {
            return;
        }
    }
}
