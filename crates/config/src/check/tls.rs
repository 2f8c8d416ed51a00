//! TLS on both sides: sets of certificates for listeners, and what upstreams are shown.
//!
//! Files are looked for, not into: whether a certificate fits its key is found out where both are loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::merge::Merged;
use super::{Check, block};
use crate::checked::{self, CertificateFiles, TlsSet};
use crate::decode::scalar::Text;
use crate::decode::{Entry, Field, Spanned, State};
use crate::diagnostic::{Place, Report};
use crate::raw::{self, TlsOrOff, UpstreamTls};

/// The bits of a mode that let others than the owner in.
const OTHERS: u32 = 0o077;

/// Which sets of `server.tls` somebody names.
#[derive(Default)]
pub(super) struct Named {
    names: BTreeSet<String>,
    /// A name could not be read, so a set that seems unused may not be.
    pub(super) has_lost: bool,
}

impl Check<'_> {
    pub(super) fn tls_sets(&mut self, server: &raw::Server) -> BTreeMap<String, TlsSet> {
        let mut sets = BTreeMap::new();
        for entry in server.tls.get().map(|map| map.value.entries.as_slice()).unwrap_or_default() {
            if let Some(raw) = entry.value.get() {
                sets.insert(entry.name.value.clone(), self.tls_set(&entry.name, &raw.value));
            }
        }
        sets
    }

    fn tls_set(&mut self, name: &Spanned<String>, raw: &raw::TlsSet) -> TlsSet {
        let message = format!("the TLS set `{}` has no certificates", name.value);
        let help = "such as `certificates: { cert: certs/api.pem, key: certs/api.key }`";
        self.require(&raw.certificates, &name.at, &message, help);
        let listed = raw.certificates.get();
        if let Some(list) = listed.filter(|list| list.value.0.is_empty()) {
            self.report(Report::error("empty_list", &list.at, message).help(help));
        }
        let mut certificates = Vec::new();
        for pair in listed.map(|list| list.value.0.as_slice()).unwrap_or_default() {
            certificates.extend(self.certificate(pair));
        }
        TlsSet { certificates, client_ca: raw.client_ca.get().map(|name| self.file(name)) }
    }

    fn certificate(&mut self, pair: &Spanned<raw::CertificateFiles>) -> Option<CertificateFiles> {
        let help = "a certificate is a pair: `{ cert: certs/api.pem, key: certs/api.key }`";
        self.require(&pair.value.cert, &pair.at, "the certificate has no `cert`", help);
        self.require(&pair.value.key, &pair.at, "the certificate has no `key`", help);
        let cert = pair.value.cert.get().map(|name| self.file(name));
        let key = pair.value.key.get().map(|name| self.key_file(name));
        Some(CertificateFiles { cert: cert?, key: key? })
    }

    /// The set that a listener names.
    pub(super) fn tls_named(
        &mut self,
        field: &Field<Text>,
        server: &raw::Server,
        named: &mut Named,
    ) -> Option<String> {
        named.has_lost |= matches!(field.state, State::Unreadable);
        let wanted = field.get()?;
        let sets = block(&server.tls, crate::decode::Map::default);
        let is_known = sets.get(&wanted.value.0).is_some();
        if !is_known && !matches!(server.tls.state, State::Unreadable) {
            self.dangling("unknown_tls", "TLS set", wanted, sets.names());
        }
        named.names.insert(wanted.value.0.clone());
        Some(wanted.value.0.clone())
    }

    pub(super) fn report_unnamed_sets(&mut self, server: &raw::Server, named: &Named) {
        let sets = server.tls.get().map(|map| map.value.entries.as_slice()).unwrap_or_default();
        for set in sets.iter().filter(|set| !named.has_lost && !named.names.contains(&set.name.value)) {
            let message = format!("no listener names the TLS set `{}`, so it does nothing", set.name.value);
            let help = "such as `listen: { address: 0.0.0.0:8443, tls: NAME }`";
            self.report(Report::warning("unused_tls", &set.name.at, message).help(help));
        }
    }

    /// What lies under every upstream, looked at where it stands.
    pub(super) fn default_upstream_tls(&mut self, merged: &Merged, defaults: &raw::UpstreamDefaults) {
        let Some(tls) = defaults.tls.get() else { return };
        let TlsOrOff::Keys(keys) = &tls.value else { return };
        self.upstream_tls_files(keys);
        // An upstream that could not be read may be the one.
        let is_plain = |entry: &Entry<raw::Upstream>| {
            let endpoints = entry.value.get().and_then(|upstream| upstream.endpoints.get());
            endpoints.is_some_and(|list| list.value.0.iter().all(|endpoint| !endpoint.value.url.tls))
        };
        if !merged.upstreams.has_lost && merged.upstreams.entries.iter().all(is_plain) {
            let message = "no endpoint of any upstream speaks TLS, so this does nothing";
            self.report(Report::warning("unused_key", &tls.at, message));
        }
    }

    /// `has_tls`: an endpoint speaks TLS; `None` where that could not be read.
    pub(super) fn upstream_tls(
        &mut self,
        raw: &raw::Upstream,
        defaults: &raw::UpstreamDefaults,
        has_tls: Option<bool>,
    ) -> checked::UpstreamTls {
        if let Some((TlsOrOff::Keys(keys), at)) = raw.tls.get().map(|tls| (&tls.value, &tls.at)) {
            self.upstream_tls_files(keys);
            if has_tls == Some(false) {
                let message = "no endpoint of this upstream speaks TLS, so this does nothing";
                let report = Report::error("unused_key", at, message);
                self.report(report.help("write the endpoint as `https://host:port`, or remove `tls`"));
            }
        }
        let merged = raw.tls.over(&defaults.tls);
        let keys = match merged.get().map(|tls| &tls.value) {
            Some(TlsOrOff::Keys(keys)) if has_tls == Some(true) => keys,
            _ => return checked::UpstreamTls::default(),
        };
        let path = |name: &Field<Text>| name.get().map(|name| self.resolved(&name.at, &name.value.0));
        checked::UpstreamTls {
            ca: path(&keys.ca),
            cert: path(&keys.cert),
            key: path(&keys.key),
            server_name: keys.server_name.get().map(|name| name.value.0.clone()),
        }
    }

    /// A block names both halves of a pair or none: halves of two places would be no pair.
    fn upstream_tls_files(&mut self, keys: &UpstreamTls) {
        for name in [&keys.ca, &keys.cert].into_iter().filter_map(|field| field.get()) {
            self.file(name);
        }
        if let Some(name) = keys.key.get() {
            self.key_file(name);
        }
        for (here, other, missing) in [(&keys.cert, &keys.key, "key"), (&keys.key, &keys.cert, "cert")] {
            if let (Some(at), true) = (here.place(), other.is_absent()) {
                let message =
                    format!("a certificate is shown with its key: `{missing}` is missing beside it");
                self.report(Report::error("missing_key", at, message).help("`cert` and `key` come together"));
            }
        }
    }

    /// A name in a file of the configuration, as the process reaches it.
    pub(super) fn resolved(&self, at: &Place, name: &str) -> PathBuf {
        self.folder(Some(at)).join(name)
    }

    pub(super) fn file(&mut self, name: &Spanned<Text>) -> PathBuf {
        self.look(name);
        self.resolved(&name.at, &name.value.0)
    }

    fn key_file(&mut self, name: &Spanned<Text>) -> PathBuf {
        if let Some(mode) = self.look(name).filter(|mode| mode & OTHERS != 0) {
            let shown = self.resolved(&name.at, name.shown());
            let message = format!(
                "others than its owner may use the private key {} (mode {:04o})",
                shown.display(),
                mode & 0o7777
            );
            let report = Report::warning("open_key_file", &name.at, message);
            self.report(report.help(format!("`chmod 600 {}`", shown.display())));
        }
        self.resolved(&name.at, &name.value.0)
    }

    /// The mode of a file that can be read. What was substituted into its name is not told.
    fn look(&mut self, name: &Spanned<Text>) -> Option<u32> {
        match self.store.look(&self.resolved(&name.at, &name.value.0)) {
            Ok(mode) => Some(mode),
            Err(why) => {
                let shown = self.resolved(&name.at, name.shown());
                let message = format!("{} cannot be read: {why}", shown.display());
                self.report(Report::error("missing_file", &name.at, message));
                None
            }
        }
    }
}
