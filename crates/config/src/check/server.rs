//! `server`, `control`, `portal` and `telemetry`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::merge::Merged;
use super::{Check, block};
use crate::Options;
use crate::checked::{self, ListenAddress, Listener, LogFormat, LogOutput};
use crate::decode::Field;
use crate::decode::scalar::Int;
use crate::diagnostic::{FileId, Place, Report};
use crate::raw;

impl Check<'_> {
    pub(super) fn server(
        &mut self,
        merged: &Merged,
        options: &Options,
    ) -> (checked::Server, checked::Control) {
        let raw = block(&merged.server, raw::Server::absent);
        let http2 = block(&raw.http2, raw::Http2::absent);
        let shutdown = block(&raw.shutdown, raw::Shutdown::absent);
        let node = block(&raw.node, raw::Node::absent);
        let listen = self.listen(&raw);
        let control = self.control(&merged.control, &listen);
        let limits = self.limits(&block(&raw.limits, raw::Limits::absent));
        self.body_default = limits.body;
        self.public_url =
            block(&merged.portal, raw::Portal::absent).public_url.get().map(|url| url.value.0.clone());
        let node_name = node.name.value().0.map_or_else(|| (options.host_name)(), |name| name.0);
        let server = checked::Server {
            listen,
            tls: BTreeMap::new(),
            workers: raw.workers.value().0.map(Int::size),
            http2_streams_max: http2.streams_max.value().small(),
            http2_window: u32::try_from(http2.window.value().0).unwrap_or(u32::MAX),
            limits,
            trusted_proxies: raw.trusted_proxies.value().0.iter().map(|network| network.value.0).collect(),
            health_path: raw.health_path.value().0.map(|path| path.0),
            shutdown_delay: shutdown.delay.value().0,
            shutdown_drain: shutdown.drain.value().0,
            node_name,
            node_region: node.region.value().0.map(|region| region.0),
        };
        (server, control)
    }

    fn listen(&mut self, raw: &raw::Server) -> Vec<Listener> {
        let mut listen: Vec<Listener> = Vec::new();
        for address in &raw.listen.value().0 {
            match taken(&listen, address.value.0) {
                Some(known) => {
                    let message = format!("another listener is on {known} already");
                    self.report(Report::error("duplicate_listen", &address.at, message));
                }
                None => listen.push(Listener {
                    address: ListenAddress::Tcp(address.value.0),
                    tls: None,
                    proxy_protocol: false,
                }),
            }
        }
        if let (true, Some(place)) = (listen.is_empty(), raw.listen.place()) {
            let place = place.clone();
            self.report(Report::error("empty_list", &place, "expected at least one address to listen on"));
        }
        listen
    }

    fn control(&mut self, field: &Field<raw::Control>, others: &[Listener]) -> checked::Control {
        let raw = block(field, raw::Control::absent);
        let listen = raw.listen.value().0;
        // A default needs no place: it is right, unless the data plane took it, and then that one is written.
        let at =
            raw.listen.place().cloned().unwrap_or_else(|| Place::start(FileId(0)).of_key("control.listen"));
        if !listen.ip().is_loopback() {
            let message = "the control listener must be on loopback";
            let help =
                "elsewhere it needs TLS, which this version of Mainstay does not have; use `127.0.0.1:9090`";
            self.report(Report::error("control_off_loopback", &at, message).help(help));
        }
        if let Some(known) = taken(others, listen) {
            let message = format!(
                "the control listener ({listen}) and the data plane ({known}) cannot share an address"
            );
            self.report(
                Report::error("duplicate_listen", &at, message).help("give `control.listen` another port"),
            );
        }
        let token_file = self.folder(raw.token_file.place()).join(raw.token_file.value().0);
        checked::Control { listen, tls: None, token_file }
    }

    fn limits(&mut self, raw: &raw::Limits) -> checked::Limits {
        if let (Some(all), Some(one)) = (raw.connections.get(), raw.connections_per_client.get())
            && one.value.0 > all.value.0
        {
            let message =
                format!("one client may not have more connections than all together ({})", all.value.0);
            self.report(Report::error("limit_order", &one.at, message));
        }
        if let (Some(head), Some(uri)) = (raw.header_bytes.get(), raw.uri_bytes.get())
            && uri.value.0 > head.value.0
        {
            let message = "longer than `header_bytes`, of which it is a part, so it can never be reached";
            self.report(Report::warning("limit_order", &uri.at, message));
        }
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        let connections = raw.connections.value().size();
        let header_bytes = bytes(raw.header_bytes.value().0);
        checked::Limits {
            connections,
            // Defaults give way to what was written.
            connections_per_client: raw.connections_per_client.value().size().min(connections),
            connection_age: raw.connection_age.value().0.map(|age| age.0),
            header_bytes,
            headers: raw.headers.value().size(),
            uri_bytes: bytes(raw.uri_bytes.value().0).min(header_bytes),
            body: raw.body.value().0,
            header_timeout: raw.header_timeout.value().0,
            body_timeout: raw.body_timeout.value().0,
            idle_timeout: raw.idle_timeout.value().0,
            requests_in_flight: raw.requests_in_flight.value().size(),
        }
    }

    pub(super) fn log(&mut self, merged: &Merged) -> checked::Log {
        let telemetry = block(&merged.telemetry, raw::Telemetry::absent);
        let raw = block(&telemetry.log, raw::Log::absent);
        checked::Log {
            format: match raw.format.value() {
                raw::LogFormat::Json => LogFormat::Json,
                raw::LogFormat::Text => LogFormat::Text,
            },
            output: match raw.output.value() {
                raw::LogTarget::Stdout => LogOutput::Stdout,
                raw::LogTarget::None => LogOutput::None,
                raw::LogTarget::File(name) => {
                    LogOutput::File(self.folder(raw.output.place()).join(Path::new(&name)))
                }
            },
            sample_success: raw.sample_success.value().0,
            redact: raw.redact.value().0.iter().map(|field| field.value.0.clone()).collect(),
        }
    }
}

/// The listener that is on an address already.
fn taken(listeners: &[Listener], address: SocketAddr) -> Option<SocketAddr> {
    listeners.iter().find_map(|listener| match listener.address {
        ListenAddress::Tcp(known) if collide(known, address) => Some(known),
        ListenAddress::Tcp(_) | ListenAddress::Unix(_) => None,
    })
}

/// Whether the system would refuse the second of two listeners. Port 0 is a free one each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = a.ip() == b.ip()
        || a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() == b.port() && a.port() != 0 && covers
}
