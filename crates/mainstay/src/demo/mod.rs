//! `mainstay demo`: a payments service with two versions, some instances of it, and the engine in front.
//!
//! Everything is real: the service listens on ports of its own, the configuration is a file that can be read and
//! changed (SIGHUP reloads it), version 1 is deprecated and has a date to go. What is taken already is
//! replaced by a free port. With `--chaos` a script of failures is played on it ([`chaos`]).

pub mod chaos;
mod configuration;

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use mainstay_config::Published;
use mainstay_core::clock::Clock;
use mainstay_payments::traffic::{self, Summary};
use mainstay_payments::{Ledger, Running, Service, sample_curl};
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_telemetry::Output;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::chaos::{ChaosError, Ground};
use self::configuration::Addresses;
use crate::compose::{Engine, Start, StartError};
use crate::handover::Inherited;
use crate::local::Services;
use crate::reload::Loader;

/// Ports that are tried first.
const PORTS: Ports = Ports { engine: 8080, control: 9090 };
/// The instances with the ports that are tried first.
const SERVICES: [(u16, &str); 2] = [(9001, "payments-a"), (9002, "payments-b")];
/// With `--chaos`: one more, and one that stands by.
const MORE_SERVICES: [(u16, &str); 2] = [(9003, "payments-c"), (9004, "payments-standby")];
/// A free port may be taken by somebody else before it is used; then another is looked for.
const STARTS_MAX: usize = 5;
/// What the commands to try show, in their order.
const TO_TRY: [&str; 5] = [
    "an old version, which says in its answer until when it lives",
    "a payment, made in the new version",
    "a stream of events, passed on as they come",
    "a path that does not exist: a problem that says what to do",
    "a method that is not served there",
];
/// Requests per second of `--traffic`.
const TRAFFIC_PER_S: u32 = 20;

struct Ports {
    engine: u16,
    control: u16,
}

/// What the demo is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Send a steady mixture of requests; with `chaos`, after the script.
    pub traffic: bool,
    /// Play the script of failures, so many times as fast as usual.
    pub chaos: Option<u32>,
}

/// Why the demo did not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No port or no temporary folder.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The demo's own configuration does not load, which is a defect.
    #[error("the demo's own configuration does not load:\n{0}")]
    Configuration(String),
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// The service behind the engine, and the folder with the configuration.
pub struct Demo {
    options: Options,
    folder: TempDir,
    services: Vec<Running>,
    traffic: Option<(JoinHandle<Summary>, watch::Sender<bool>)>,
}

impl Demo {
    /// Starts service and engine.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub async fn start(options: Options) -> Result<(Self, Engine), DemoError> {
        let ledger = Ledger::new();
        let mut services = Vec::new();
        let more = MORE_SERVICES.into_iter().filter(|_| options.chaos.is_some());
        for (port, name) in SERVICES.into_iter().chain(more) {
            services.push(start_service(&ledger, port, name)?);
        }
        let folder = tempfile::Builder::new().prefix("mainstay-demo-").tempdir()?;
        std::fs::write(folder.path().join("payments-v1.yaml"), mainstay_payments::OPENAPI_V1)?;
        std::fs::write(folder.path().join("payments-v2.yaml"), mainstay_payments::OPENAPI_V2)?;
        let engine = start_engine(&folder.path().join("mainstay.yaml"), &services, options).await?;
        let mut demo = Self { options, folder, services, traffic: None };
        if options.chaos.is_none() {
            demo.start_traffic(&engine);
        }
        Ok((demo, engine))
    }

    /// What was started, and what is worth trying.
    pub fn introduction(&self, engine: &Engine) -> String {
        let mut text = String::from("\nMainstay demo\n\n");
        for service in &self.services {
            let _ = writeln!(text, "  payments service   http://{}  ({})", service.addr, service.name());
        }
        let address = engine.listen[0];
        let file = self.folder.path().join("mainstay.yaml");
        let versions = if self.options.chaos.is_some() { "v1, v2" } else { "v1 deprecated, v2 current" };
        let _ = writeln!(text, "  the engine         http://{address}  ({versions})");
        let _ = writeln!(text, "  control            http://{}  (/metrics, /readyz)", engine.control);
        let _ = writeln!(text, "  configuration      {}", file.display());
        if self.options.chaos.is_some() {
            self.introduce_chaos(&mut text, &file);
        } else {
            self.introduce_trying(&mut text, address);
        }
        text.push_str("Stop with Ctrl-C.\n\n");
        text
    }

    fn introduce_trying(&self, text: &mut String, address: SocketAddr) {
        text.push_str("\nTry:\n\n");
        for (what, command) in TO_TRY.into_iter().zip(sample_curl(address)) {
            let _ = writeln!(text, "  # {what}\n  {command}\n");
        }
        let _ = writeln!(text, "The access log (one line a request) goes to this terminal.");
        if self.options.traffic {
            let _ = writeln!(text, "Traffic: {TRAFFIC_PER_S} requests a second.");
        }
    }

    fn introduce_chaos(&self, text: &mut String, file: &Path) {
        let log = self.folder.path().join("access.log");
        let _ = writeln!(text, "  access log         {}", log.display());
        text.push_str("\nThe upstreams, as the configuration has them:\n\n");
        for line in std::fs::read_to_string(file).unwrap_or_default().lines().filter(in_upstreams()) {
            let _ = writeln!(text, "  {line}");
        }
        let _ = writeln!(text, "\nLook on from another terminal: mainstay upstreams -c {}", file.display());
        text.push_str(
            "Lines of JSON are the engine's own events, on standard error (2>/dev/null leaves them out).\n",
        );
    }

    /// Plays the script, if it was asked for; see [`chaos::play`]. `None`: it was not.
    ///
    /// # Errors
    /// See [`ChaosError`].
    pub async fn play(
        &self,
        engine: SocketAddr,
        control: SocketAddr,
        say: &dyn Fn(&str),
    ) -> Result<Option<bool>, ChaosError> {
        let Some(speed) = self.options.chaos else { return Ok(None) };
        let (services, folder) = (&self.services[..], self.folder.path());
        chaos::play(Ground { services, engine, control, folder, speed, say }).await.map(Some)
    }

    /// Whether there is a reason to go on after the script.
    pub fn goes_on(&self) -> bool {
        self.options.traffic || self.options.chaos.is_none()
    }

    /// Begins the traffic, if it was asked for.
    pub fn start_traffic(&mut self, engine: &Engine) {
        if self.options.traffic {
            let (stop, stopped) = watch::channel(false);
            let task = tokio::spawn(traffic::run(engine.listen[0], TRAFFIC_PER_S, stopped));
            self.traffic = Some((task, stop));
        }
    }

    /// Ends the traffic, if there is any, and says what it saw.
    pub async fn stop_traffic(&mut self) -> String {
        let Some((task, stop)) = self.traffic.take() else { return String::new() };
        stop.send_replace(true);
        match task.await {
            Ok(summary) => format!("traffic: {} requests, {} answered\n", summary.sent, summary.answered()),
            Err(_panicked) => String::new(),
        }
    }

    /// Stops the payments service.
    pub async fn stop_services(self) {
        for service in self.services {
            service.stop().await;
        }
    }
}

async fn start_engine(path: &Path, services: &[Running], options: Options) -> Result<Engine, DemoError> {
    let mut starts = 0;
    loop {
        starts += 1;
        let now = Clock::System.now();
        let addresses = Addresses {
            engine: local(free_port(PORTS.engine)?),
            control: local(free_port(PORTS.control)?),
            services: services.iter().map(|service| service.addr).collect(),
        };
        let text = match options.chaos {
            None => configuration::plain(&addresses, now.seconds()),
            Some(_) => configuration::filled(chaos::CONFIGURATION, &addresses),
        };
        std::fs::write(path, text)?;
        let loader = Loader::new(path.to_owned());
        let outcome = loader.load(&Published::default(), now);
        let Some(checked) = outcome.checked else {
            return Err(DemoError::Configuration(mainstay_config::render_text(&outcome.problems)));
        };
        let start = Start {
            checked,
            places: outcome.listen,
            published: Published::default(),
            loader: Some(loader),
            clock: Clock::System,
            events: Output::Stderr,
            fell_back: None,
            services: Services::default(),
            inherited: Inherited::default(),
            resolver: Resolver::default(),
        };
        match Engine::start(start).await {
            Err(StartError::Bind(_)) if starts < STARTS_MAX => {}
            started => return Ok(started?),
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn start_service(ledger: &Arc<Ledger>, port: u16, name: &str) -> io::Result<Running> {
    Service::start(Arc::clone(ledger), local(port), name)
        .or_else(|_taken| Service::start(Arc::clone(ledger), local(0), name))
}

/// The port, or a free one.
fn free_port(wanted: u16) -> io::Result<u16> {
    let probe =
        std::net::TcpListener::bind(local(wanted)).or_else(|_taken| std::net::TcpListener::bind(local(0)))?;
    Ok(probe.local_addr()?.port())
}

/// Tells of each line, from the first one on, if it is in the part about upstreams.
fn in_upstreams() -> impl FnMut(&&str) -> bool {
    let mut inside = false;
    move |line| {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            inside = *line == "upstreams:";
        }
        inside && !line.is_empty()
    }
}
