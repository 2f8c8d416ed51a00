//! Where the engine listens: sockets are taken over from who had them before, or bound; and the control listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_config::ListenPlaces;
use mainstay_config::checked::{Checked, ListenAddress};
use mainstay_control::token::Token;
use mainstay_control::{ControlConfig, TlsSource};
use mainstay_core::catalogue::Catalogue;
use mainstay_proxy::accept::socket::Sockets;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::compose::StartError;
use crate::handover::Inherited;
use crate::reload::{ControlSide, Handle};

/// A listener of the data plane whose sockets are there.
pub(crate) struct Bound {
    pub(crate) name: Arc<str>,
    pub(crate) sockets: Sockets,
    /// With the port that the kernel chose; none for a path.
    pub(crate) address: Option<SocketAddr>,
}

/// A listener's sockets: what was inherited for it, else bound now.
pub(crate) fn bind(
    address: &ListenAddress,
    workers: usize,
    places: &ListenPlaces,
    inherited: &mut Inherited,
) -> Result<Bound, StartError> {
    let failed = |error| StartError::Bind(Box::new(places.problem("server.listen", address, &error)));
    let taken = inherited.take(address).map_err(failed)?;
    let sockets = match (taken, address) {
        (Some(sockets), _) => sockets,
        (None, ListenAddress::Tcp(address)) => Sockets::tcp(*address, workers).map_err(failed)?.1,
        (None, ListenAddress::Unix(path)) => Sockets::unix(path).map_err(failed)?,
    };
    Ok(Bound { name: address.to_string().into(), address: sockets.address(), sockets })
}

/// The control listener's socket: what was inherited for it, else bound now.
pub(crate) async fn bind_control(
    checked: &Checked,
    places: &ListenPlaces,
    inherited: &mut Inherited,
) -> Result<std::net::TcpListener, StartError> {
    let address = checked.control.listen;
    let failed = |error| {
        let problem = places.problem("control.listen", &ListenAddress::Tcp(address), &error);
        StartError::Bind(Box::new(problem))
    };
    if let Some(socket) = inherited.take_control(address).map_err(failed)? {
        return Ok(socket);
    }
    let config = ControlConfig {
        listen: address,
        tls: checked.control.tls.is_some(),
        token_file: checked.control.token_file.clone(),
    };
    mainstay_control::bind(&config).await.and_then(tokio::net::TcpListener::into_std).map_err(failed)
}

/// The control listener while it serves. Its socket is kept, so that it can be handed on or served again.
pub(crate) struct ControlServer {
    socket: std::net::TcpListener,
    token: Token,
    handle: Arc<Handle>,
    catalogue: Option<Arc<dyn Catalogue>>,
    running: Option<Running>,
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<io::Result<()>>,
}

impl ControlServer {
    /// Not serving yet.
    pub(crate) fn new(
        socket: std::net::TcpListener,
        token: Token,
        handle: Arc<Handle>,
        catalogue: Option<Arc<dyn Catalogue>>,
    ) -> Self {
        Self { socket, token, handle, catalogue, running: None }
    }

    /// Serves.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.socket.try_clone()?)?;
        let (stop, mut stopped) = watch::channel(false);
        let parts = mainstay_control::Parts {
            tls: control_tls(&self.handle)?,
            token: self.token.clone(),
            engine: Arc::new(ControlSide(Arc::clone(&self.handle))),
            catalogue: self.catalogue.clone(),
            events: self.handle.events.clone(),
            clock: self.handle.shared.clock.clone(),
        };
        let task = tokio::spawn(async move {
            let stopped = async move {
                // An error means that the engine itself is gone, which is a reason to stop as well.
                let _ = stopped.wait_for(|s| *s).await;
            };
            mainstay_control::serve(listener, parts, stopped).await
        });
        self.running = Some(Running { stop, task });
        Ok(())
    }

    /// Accepts no more, and ends once what runs has been answered.
    pub(crate) async fn stop(&mut self) {
        if let Some(Running { stop, task }) = self.running.take() {
            stop.send_replace(true);
            // What panics there has been reported there.
            let _ = task.await;
        }
    }

    /// The socket once more.
    pub(crate) fn copy(&self) -> io::Result<std::net::TcpListener> {
        self.socket.try_clone()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// What the control listener shows: the set that `control.tls` names, as the configuration that serves has it.
fn control_tls(handle: &Handle) -> io::Result<Option<TlsSource>> {
    let Some(name) = handle.checked().control.tls.clone() else { return Ok(None) };
    let shared = Arc::clone(&handle.shared);
    let find = move || {
        let snapshot = shared.snapshot.load();
        snapshot.server.tls_sets.iter().find(|set| *set.name == *name).cloned()
    };
    // The name stays as it is for as long as the process runs, and a configuration in which it dangles does not load.
    let first = find().ok_or_else(|| io::Error::other("the set that control.tls names is missing"))?;
    Ok(Some(Arc::new(move || {
        let set = find();
        Arc::clone(&set.as_ref().unwrap_or(&first).current().strict)
    })))
}
