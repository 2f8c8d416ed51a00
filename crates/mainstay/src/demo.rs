//! `mainstay demo`: a payments service with two versions, two instances of it, and the engine in front.
//!
//! Everything is real: the service listens on ports of its own, the configuration is a file that can be read and
//! changed (SIGHUP reloads it), version 1 is deprecated and has a date to go. What is taken already is
//! replaced by a free port.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use mainstay_config::Published;
use mainstay_core::clock::Clock;
use mainstay_core::units::show_date;
use mainstay_payments::traffic::{self, Summary};
use mainstay_payments::{Ledger, Running, Service, sample_curl};
use mainstay_proxy::forward::resolve::Resolver;
use mainstay_telemetry::Output;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::compose::{Engine, Start, StartError};
use crate::handover::Inherited;
use crate::local::Services;
use crate::reload::Loader;

/// Ports that are tried first.
const PORTS: Ports = Ports { engine: 8080, control: 9090, services: [9001, 9002] };
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
const DAY_S: i64 = 86_400;

struct Ports {
    engine: u16,
    control: u16,
    services: [u16; 2],
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
    folder: TempDir,
    services: Vec<Running>,
    traffic: Option<(JoinHandle<Summary>, watch::Sender<bool>)>,
}

impl Demo {
    /// Starts service and engine.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub async fn start(with_traffic: bool) -> Result<(Self, Engine), DemoError> {
        let ledger = Ledger::new();
        let mut services = Vec::new();
        for (port, name) in PORTS.services.into_iter().zip(["payments-a", "payments-b"]) {
            services.push(start_service(&ledger, port, name)?);
        }
        let folder = tempfile::Builder::new().prefix("mainstay-demo-").tempdir()?;
        std::fs::write(folder.path().join("payments-v1.yaml"), mainstay_payments::OPENAPI_V1)?;
        std::fs::write(folder.path().join("payments-v2.yaml"), mainstay_payments::OPENAPI_V2)?;
        let engine = start_engine(&folder.path().join("mainstay.yaml"), &services).await?;
        let traffic = with_traffic.then(|| {
            let (stop, stopped) = watch::channel(false);
            (tokio::spawn(traffic::run(engine.listen[0], TRAFFIC_PER_S, stopped)), stop)
        });
        Ok((Self { folder, services, traffic }, engine))
    }

    /// What was started, and what is worth trying.
    pub fn introduction(&self, engine: &Engine) -> String {
        let mut text = String::from("\nMainstay demo\n\n");
        for service in &self.services {
            let _ = writeln!(text, "  payments service   http://{}  ({})", service.addr, service.name());
        }
        let address = engine.listen[0];
        let _ = writeln!(text, "  the engine         http://{address}  (v1 deprecated, v2 current)");
        let _ = writeln!(text, "  control            http://{}  (/metrics, /readyz)", engine.control);
        let _ = writeln!(text, "  configuration      {}", self.folder.path().join("mainstay.yaml").display());
        text.push_str("\nTry:\n\n");
        for (what, command) in TO_TRY.into_iter().zip(sample_curl(address)) {
            let _ = writeln!(text, "  # {what}\n  {command}\n");
        }
        let _ = writeln!(text, "The access log (one line a request) goes to this terminal.");
        if self.traffic.is_some() {
            let _ = writeln!(text, "Traffic: {TRAFFIC_PER_S} requests a second.");
        }
        text.push_str("Stop with Ctrl-C.\n\n");
        text
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

async fn start_engine(path: &Path, services: &[Running]) -> Result<Engine, DemoError> {
    let mut starts = 0;
    loop {
        starts += 1;
        let now = Clock::System.now();
        let text =
            configuration(services, free_port(PORTS.engine)?, free_port(PORTS.control)?, now.seconds());
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

fn configuration(services: &[Running], engine: u16, control: u16, now_s: i64) -> String {
    let endpoints: Vec<_> = services.iter().map(|s| format!("http://{}", s.addr)).collect();
    let date = |days: i64| show_date((now_s / DAY_S + days) * DAY_S);
    format!(
        "# The demo's configuration. Change it, then send SIGHUP.\n\
         server: {{ listen: 127.0.0.1:{engine}, health_path: /healthz }}\n\
         control: {{ listen: 127.0.0.1:{control}, token_file: mainstay.token }}\n\
         upstreams:\n  payments: {{ endpoints: [{}] }}\n\
         apis:\n  payments:\n    owner: team-payments\n    defaults: {{ auth: none }}\n    versions:\n      \
         v1:\n        openapi: payments-v1.yaml\n        upstream: payments\n        lifecycle: {{ deprecated: {}, sunset: {}, successor: v2 }}\n      \
         v2:\n        openapi: payments-v2.yaml\n        upstream: payments\n    \
         operations:\n      paymentEvents: {{ timeouts: {{ total: off, idle: 5m }} }}\n",
        endpoints.join(", "),
        date(-30),
        date(150),
    )
}
