//! Listeners, endpoints and their TLS. Live state goes over where the settings are equal.

use std::sync::Arc;

use http::header::HeaderValue;
use mainstay_config::checked::{self, Checked, EndpointAddress};
use mainstay_proxy::forward::endpoint::{
    Address, Dialer, EndpointSettings, EndpointShared, Protocol, Secure, SecureSettings, UpstreamShared,
};
use mainstay_proxy::metrics;
use mainstay_proxy::plan::{HostPlan, ListenerPlan, ServerPlan, TrustedNetwork, UpstreamPlan};
use mainstay_proxy::tls::client::{ClientFiles, ClientTls, Offer, server_name};
use mainstay_proxy::tls::pem::PairFiles;
use mainstay_proxy::tls::server::{ServerFiles, ServerTls};

use super::policies::{self, Indices};
use super::{Defect, Locals, LowerError, Surroundings};

/// `server`, with its TLS sets loaded.
pub(super) fn server(checked: &Checked, with: &Surroundings<'_>) -> Result<ServerPlan, LowerError> {
    let server = &checked.server;
    let limits = &server.limits;
    let tls_sets = server.tls.iter().map(|(name, set)| tls_set(name, set, with));
    let tls_sets = tls_sets.collect::<Result<Vec<_>, _>>()?;
    Ok(ServerPlan {
        listeners: server.listen.iter().map(|l| listener(l, &tls_sets, with)).collect::<Result<_, _>>()?,
        tls_sets,
        connections_max: limits.connections,
        connections_per_client_max: limits.connections_per_client,
        connection_age: limits.connection_age,
        header_bytes_max: limits.header_bytes,
        headers_max: limits.headers,
        uri_bytes_max: limits.uri_bytes,
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        idle_timeout: limits.idle_timeout,
        requests_in_flight_max: limits.requests_in_flight,
        http2_streams_max: server.http2_streams_max,
        http2_window: server.http2_window,
        trusted_proxies: server
            .trusted_proxies
            .iter()
            .map(|n| TrustedNetwork { address: n.address, prefix: n.prefix })
            .collect(),
        health_path: server.health_path.as_deref().map(Into::into),
        node: server.node_name.as_str().into(),
        region: server.node_region.as_deref().map(Into::into),
    })
}

fn listener(
    listener: &checked::Listener,
    sets: &[Arc<ServerTls>],
    with: &Surroundings<'_>,
) -> Result<ListenerPlan, Defect> {
    let tls = listener.tls.as_ref().map(|name| {
        let set = sets.iter().find(|set| *set.name == **name);
        set.cloned().ok_or_else(|| Defect(format!("the TLS set {name} is missing")))
    });
    let name: Arc<str> = listener.address.to_string().into();
    Ok(ListenerPlan {
        metrics: metrics::listener(with.registry, &name),
        name,
        tls: tls.transpose()?,
        proxy_protocol: listener.proxy_protocol,
    })
}

fn tls_set(name: &str, set: &checked::TlsSet, with: &Surroundings<'_>) -> Result<Arc<ServerTls>, LowerError> {
    let pair =
        |files: &checked::CertificateFiles| PairFiles { cert: files.cert.clone(), key: files.key.clone() };
    let files =
        ServerFiles { pairs: set.certificates.iter().map(pair).collect(), client_ca: set.client_ca.clone() };
    let known = with.old.iter().flat_map(|old| &old.server.tls_sets);
    if let Some(known) = known.into_iter().find(|known| *known.name == *name && known.files == files) {
        return Ok(Arc::clone(known));
    }
    let loaded = ServerTls::load(name.into(), files, with.now.seconds());
    loaded.map(Arc::new).map_err(|error| LowerError::Tls { key: format!("server.tls.{name}"), error })
}

/// All that is wrong with certificate files as they are on disk now.
pub(super) fn wrong_files(checked: &Checked, with: &Surroundings<'_>) -> Vec<LowerError> {
    let sets = checked.server.tls.iter().map(|(name, set)| tls_set(name, set, with).err());
    let upstreams = checked.upstreams.values().filter(|u| u.endpoints.iter().any(|e| e.tls));
    let upstreams = upstreams.map(|u| client_tls(&u.name.as_str().into(), u, None, with).err());
    sets.chain(upstreams).flatten().collect()
}

/// An upstream with its endpoints.
pub(super) fn upstream(
    upstream: &checked::Upstream,
    indices: &Indices<'_>,
    with: &Surroundings<'_>,
) -> Result<UpstreamPlan, LowerError> {
    let name: Arc<str> = upstream.name.as_str().into();
    let old = with.old.iter().flat_map(|old| &old.upstreams).find(|plan| plan.name == name);
    let tls = if upstream.endpoints.iter().any(|endpoint| endpoint.tls) {
        let known = old.and_then(|plan| plan.tls.as_ref());
        Some(client_tls(&name, upstream, known, with)?)
    } else {
        None
    };
    let known = old.iter().flat_map(|plan| &plan.shared.endpoints).collect::<Vec<_>>();
    let endpoints = upstream.endpoints.iter().enumerate().map(|(index, endpoint)| {
        let settings = settings(upstream, endpoint, tls.as_deref());
        if let Some(known) = known.iter().find(|known| known.settings == settings) {
            return Ok(Arc::clone(known));
        }
        let cells = metrics::endpoint(with.registry, &upstream.name, &settings.display);
        let mut shared = EndpointShared::new(Arc::clone(&name), settings, cells);
        let key = || endpoint_key(&name, index);
        shared.dialer = dialer(endpoint, with, &key)?;
        shared.secure = secure(&shared.settings, tls.as_ref(), &key)?;
        Ok(Arc::new(shared))
    });
    let endpoints = endpoints.collect::<Result<_, LowerError>>()?;
    let host = match &upstream.host {
        checked::HostHeader::Endpoint => HostPlan::Endpoint,
        checked::HostHeader::Preserve => HostPlan::Preserve,
        checked::HostHeader::Name(name) => HostPlan::Name(
            HeaderValue::try_from(name.as_str()).unwrap_or(HeaderValue::from_static("invalid")),
        ),
    };
    let (pool, hash_on) = policies::pool(upstream)?;
    let policies = policies::policies(upstream, old.map(|old| &old.policies), &host, indices, with)?;
    let shared = Arc::new(UpstreamShared::new(Arc::clone(&name), endpoints, pool, hash_on));
    Ok(UpstreamPlan { host, tls, shared, policies, name })
}

fn settings(
    upstream: &checked::Upstream,
    endpoint: &checked::Endpoint,
    tls: Option<&ClientTls>,
) -> EndpointSettings {
    let address = match &endpoint.address {
        EndpointAddress::Tcp { host, port, all_addresses } => {
            Address::Tcp { host: host.clone(), port: *port, all_addresses: *all_addresses }
        }
        EndpointAddress::Unix(path) => Address::Unix(path.clone()),
        EndpointAddress::Local(name) => Address::Local(name.clone()),
    };
    let host = match &address {
        Address::Tcp { host, .. } => host.as_str(),
        Address::Unix(_) | Address::Local(_) => "localhost",
    };
    let server_name = upstream.tls.server_name.as_deref().unwrap_or(host).to_owned();
    let secure =
        tls.filter(|_| endpoint.tls).map(|tls| SecureSettings { files: tls.files.clone(), server_name });
    EndpointSettings {
        display: endpoint.display.clone(),
        address,
        weight: endpoint.weight,
        protocol: match upstream.protocol {
            checked::Protocol::Auto => Protocol::Auto,
            checked::Protocol::Http1 => Protocol::Http1,
            checked::Protocol::H2 => Protocol::H2,
        },
        secure,
        connections_max: upstream.pool.connections_max,
        idle_max: upstream.pool.idle_max,
        idle_timeout: upstream.pool.idle_timeout,
        lifetime_max: upstream.pool.lifetime_max,
        wait: upstream.pool.wait,
    }
}

fn client_tls(
    name: &Arc<str>,
    upstream: &checked::Upstream,
    known: Option<&Arc<ClientTls>>,
    with: &Surroundings<'_>,
) -> Result<Arc<ClientTls>, LowerError> {
    let tls = &upstream.tls;
    let pair = tls.cert.clone().zip(tls.key.clone()).map(|(cert, key)| PairFiles { cert, key });
    let offer = match upstream.protocol {
        checked::Protocol::Auto => Offer::Both,
        checked::Protocol::Http1 => Offer::Http1,
        checked::Protocol::H2 => Offer::H2,
    };
    let files = ClientFiles { ca: tls.ca.clone(), pair, offer };
    if let Some(known) = known.filter(|known| known.files == files) {
        return Ok(Arc::clone(known));
    }
    let loaded = ClientTls::load(Arc::clone(name), files, with.now.seconds());
    loaded.map(Arc::new).map_err(|error| LowerError::Tls { key: format!("upstreams.{name}.tls"), error })
}

fn secure(
    settings: &EndpointSettings,
    tls: Option<&Arc<ClientTls>>,
    key: &dyn Fn() -> String,
) -> Result<Option<Secure>, LowerError> {
    let (Some(secure), Some(tls)) = (&settings.secure, tls) else { return Ok(None) };
    let name = server_name(&secure.server_name).map_err(|error| LowerError::Tls { key: key(), error })?;
    Ok(Some(Secure { tls: Arc::clone(tls), name }))
}

fn dialer(
    endpoint: &checked::Endpoint,
    with: &Surroundings<'_>,
    key: &dyn Fn() -> String,
) -> Result<Option<Dialer>, LowerError> {
    let EndpointAddress::Local(name) = &endpoint.address else { return Ok(None) };
    match missing(key(), name, with.locals) {
        Some(missing) => Err(missing),
        None => Ok(with.locals.get(name).cloned()),
    }
}

/// The services within the process that endpoints name, each with its key.
pub(super) fn locals(checked: &Checked) -> impl Iterator<Item = (String, &str)> {
    checked.upstreams.values().flat_map(|upstream| {
        upstream.endpoints.iter().enumerate().filter_map(|(index, endpoint)| match &endpoint.address {
            EndpointAddress::Local(name) => Some((endpoint_key(&upstream.name, index), name.as_str())),
            EndpointAddress::Tcp { .. } | EndpointAddress::Unix(_) => None,
        })
    })
}

/// What is wrong when there is no service of this name.
pub(super) fn missing(key: String, name: &str, locals: &Locals) -> Option<LowerError> {
    if locals.contains_key(name) {
        return None;
    }
    let known: Vec<_> = locals.keys().map(|known| format!("`{known}`")).collect();
    let known =
        if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
    Some(LowerError::NoLocal { key, name: name.to_owned(), known })
}

fn endpoint_key(upstream: &str, index: usize) -> String {
    format!("upstreams.{upstream}.endpoints.{index}")
}
