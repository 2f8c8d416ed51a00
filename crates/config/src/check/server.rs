//! `server`, `control`, `portal` and `telemetry`.

use std::path::{Path, PathBuf};

use super::merge::Merged;
use super::tls::Named;
use super::{Check, block};
use crate::Options;
use crate::checked::{self, ListenAddress, Listener, LogFormat, LogOutput};
use crate::decode::scalar::Int;
use crate::decode::{Field, State};
use crate::diagnostic::{FileId, Place, Report};
use crate::raw;

/// What `sun_path` of the system holds, without the zero at its end.
const SOCKET_BYTES_MAX: usize = 107;

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
        let tls = self.tls_sets(&raw);
        let mut named = Named::default();
        let listen = self.listen(&raw, &mut named);
        let control = self.control(&merged.control, &raw, &listen, &mut named);
        self.report_unnamed_sets(&raw, &named);
        let limits = self.limits(&block(&raw.limits, raw::Limits::absent));
        self.body_default = limits.body;
        self.public_url =
            block(&merged.portal, raw::Portal::absent).public_url.get().map(|url| url.value.0.clone());
        let node_name = node.name.value().0.map_or_else(|| (options.host_name)(), |name| name.0);
        let server = checked::Server {
            listen,
            tls,
            workers: raw.workers.value().0.map(Int::size),
            http2_streams_max: http2.streams_max.value().small(),
            http2_window: u32::try_from(http2.window.value().0).unwrap_or(u32::MAX),
            limits,
            preauth: Self::preauth(&raw.preauth),
            trusted_proxies: raw.trusted_proxies.value().0.iter().map(|network| network.value.0).collect(),
            health_path: raw.health_path.value().0.map(|path| path.0),
            shutdown_delay: shutdown.delay.value().0,
            shutdown_drain: shutdown.drain.value().0,
            node_name,
            node_region: node.region.value().0.map(|region| region.0),
        };
        (server, control)
    }

    fn listen(&mut self, raw: &raw::Server, named: &mut Named) -> Vec<Listener> {
        named.has_lost |= matches!(raw.listen.state, State::Unreadable);
        let mut listen: Vec<Listener> = Vec::new();
        for spec in &raw.listen.value().0 {
            let at = &spec.address.at;
            let address = match &spec.address.value.0 {
                ListenAddress::Tcp(address) => ListenAddress::Tcp(*address),
                ListenAddress::Unix(path) => ListenAddress::Unix(self.socket(at, path)),
            };
            let tls = self.tls_named(&spec.tls, raw, named);
            // What a listener speaks is found by its address as it is written, so a port of 0 stands there once.
            let is_taken = |known: &&Listener| known.address == address || collide(&known.address, &address);
            if let Some(known) = listen.iter().find(is_taken) {
                let message = match &known.address {
                    ListenAddress::Tcp(known) => format!("another listener is on {known} already"),
                    ListenAddress::Unix(_) => "another listener is on this socket already".to_owned(),
                };
                self.report(Report::error("duplicate_listen", at, message));
            } else {
                if raw.listen.place().is_some() {
                    self.places.listen.push((address.clone(), at.of_key("server.listen")));
                }
                listen.push(Listener { address, tls, proxy_protocol: spec.proxy_protocol });
            }
        }
        if let (true, Some(place)) = (listen.is_empty(), raw.listen.place()) {
            let place = place.clone();
            self.report(Report::error("empty_list", &place, "expected at least one address to listen on"));
        }
        listen
    }

    /// A Unix socket, as the process reaches it.
    pub(super) fn socket(&mut self, at: &Place, path: &Path) -> PathBuf {
        let path = self.folder(Some(at)).join(path);
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_BYTES_MAX {
            let message = format!(
                "the whole path has {bytes} bytes, and that of a Unix socket at most {SOCKET_BYTES_MAX}"
            );
            let help = "choose a shorter one, such as `unix:/run/mainstay.sock`";
            self.report(Report::error("socket_path_too_long", at, message).help(help));
        }
        path
    }

    fn control(
        &mut self,
        field: &Field<raw::Control>,
        server: &raw::Server,
        others: &[Listener],
        named: &mut Named,
    ) -> checked::Control {
        named.has_lost |= matches!(field.state, State::Unreadable);
        let raw = block(field, raw::Control::absent);
        let listen = raw.listen.value().0;
        // A default needs no place: it is right, unless the data plane took it, and then that one is written.
        let at =
            raw.listen.place().cloned().unwrap_or_else(|| Place::start(FileId(0)).of_key("control.listen"));
        if !listen.ip().is_loopback() && raw.tls.is_absent() {
            let message = "the control listener must be on loopback, or have `tls`";
            let help = "name a set of `server.tls` with `tls: NAME`, or listen on `127.0.0.1:9090`";
            self.report(Report::error("control_off_loopback", &at, message).help(help));
        }
        let tls = self.tls_named(&raw.tls, server, named);
        let address = ListenAddress::Tcp(listen);
        if raw.listen.place().is_some() {
            self.places.listen.push((address.clone(), at.of_key("control.listen")));
        }
        if let Some(known) = others.iter().find(|known| collide(&known.address, &address)) {
            let message = format!(
                "the control listener ({listen}) and the data plane ({}) cannot share an address",
                known.address
            );
            self.report(
                Report::error("duplicate_listen", &at, message).help("give `control.listen` another port"),
            );
        }
        let token_file = self.folder(raw.token_file.place()).join(raw.token_file.value().0);
        checked::Control { listen, tls, token_file }
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
        self.note_places_of_limits(raw);
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
            memory: raw.memory.value().0,
        }
    }

    fn note_places_of_limits(&mut self, raw: &raw::Limits) {
        let written = [
            ("connections", raw.connections.place()),
            ("connections_per_client", raw.connections_per_client.place()),
            ("connection_age", raw.connection_age.place()),
            ("header_bytes", raw.header_bytes.place()),
            ("headers", raw.headers.place()),
            ("uri_bytes", raw.uri_bytes.place()),
            ("header_timeout", raw.header_timeout.place()),
            ("body_timeout", raw.body_timeout.place()),
            ("idle_timeout", raw.idle_timeout.place()),
            ("requests_in_flight", raw.requests_in_flight.place()),
            ("memory", raw.memory.place()),
        ];
        let written = written.into_iter().filter_map(|(key, at)| Some((key, at?.clone())));
        self.places.limits.extend(written);
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

/// Whether the system would refuse the second of two listeners. Port 0 is a free one each time.
fn collide(a: &ListenAddress, b: &ListenAddress) -> bool {
    match (a, b) {
        (ListenAddress::Tcp(a), ListenAddress::Tcp(b)) => {
            let covers = a.ip() == b.ip()
                || a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
            a.port() == b.port() && a.port() != 0 && covers
        }
        _ => a == b,
    }
}
