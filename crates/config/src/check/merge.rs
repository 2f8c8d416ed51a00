//! All files as one: entries next to one another, never over one another.

use std::collections::HashMap;

use crate::decode::{Field, Map, Spanned, State};
use crate::diagnostic::{Place, Report};
use crate::files::Files;
use crate::raw::{
    Api, Auth, ConsumerEntry, Control, Name, OperationKeys, Permissions, Plan, Portal, Root, Server, Stores,
    Telemetry, Upstream, UpstreamDefaults,
};

/// The entries of all files.
pub(crate) struct Merged {
    pub(crate) server: Field<Server>,
    pub(crate) control: Field<Control>,
    pub(crate) portal: Field<Portal>,
    pub(crate) stores: Field<Stores>,
    pub(crate) auth: Field<Auth>,
    pub(crate) plans: Map<Name, Plan>,
    pub(crate) consumers: Vec<Spanned<ConsumerEntry>>,
    pub(crate) permissions: Field<Permissions>,
    pub(crate) upstream_defaults: Field<UpstreamDefaults>,
    pub(crate) telemetry: Field<Telemetry>,
    pub(crate) upstreams: Map<Name, Upstream>,
    pub(crate) classes: Map<Name, OperationKeys>,
    pub(crate) apis: Map<Name, Api>,
}

/// Merges the files. The same entry in two of them is an error that names both.
pub(crate) fn merge(roots: Vec<Root>, files: &Files, reports: &mut Vec<Report>) -> Merged {
    let mut merger = Merger { files, reports };
    let mut merged = Merged {
        server: Field::absent(None),
        control: Field::absent(None),
        portal: Field::absent(None),
        stores: Field::absent(None),
        auth: Field::absent(None),
        plans: Map::default(),
        consumers: Vec::new(),
        permissions: Field::absent(None),
        upstream_defaults: Field::absent(None),
        telemetry: Field::absent(None),
        upstreams: Map::default(),
        classes: Map::default(),
        apis: Map::default(),
    };
    for root in roots {
        // Every key is named, so that a new one does not compile until somebody decides how it is merged.
        let Root {
            include: _,
            server,
            control,
            portal,
            stores,
            auth,
            plans,
            consumers,
            permissions,
            upstream_defaults,
            upstreams,
            classes,
            apis,
            telemetry,
        } = root;
        merger.block(&mut merged.server, server);
        merger.block(&mut merged.control, control);
        merger.block(&mut merged.portal, portal);
        merger.block(&mut merged.stores, stores);
        merger.block(&mut merged.auth, auth);
        merger.map(&mut merged.plans, plans);
        // The same one in two files is found where their ids are looked at.
        merged.consumers.extend(consumers.get().map(|list| list.value.0.clone()).unwrap_or_default());
        merger.block(&mut merged.permissions, permissions);
        merger.block(&mut merged.upstream_defaults, upstream_defaults);
        merger.block(&mut merged.telemetry, telemetry);
        merger.map(&mut merged.upstreams, upstreams);
        merger.map(&mut merged.classes, classes);
        merger.map(&mut merged.apis, apis);
    }
    merged
}

struct Merger<'a> {
    files: &'a Files,
    reports: &'a mut Vec<Report>,
}

impl Merger<'_> {
    fn block<T>(&mut self, into: &mut Field<T>, from: Field<T>) {
        match (into.place(), from.place()) {
            (Some(first), Some(second)) => {
                let (first, second) = (first.clone(), second.clone());
                self.twice(&first, &second);
            }
            _ if into.is_absent() => *into = from,
            _ => {}
        }
    }

    fn map<N, T>(&mut self, into: &mut Map<N, T>, from: Field<Map<N, T>>) {
        let State::Given(map) = from.state else { return };
        let known: HashMap<String, Place> =
            into.entries.iter().map(|entry| (entry.name.value.clone(), entry.name.at.clone())).collect();
        for entry in map.value.entries {
            match known.get(&entry.name.value) {
                Some(first) => self.twice(first, &entry.name.at),
                None => into.entries.push(entry),
            }
        }
    }

    fn twice(&mut self, first: &Place, second: &Place) {
        let message = format!("`{}` is already in {}", second.key, self.files.show(first));
        self.reports.push(
            Report::error("duplicate_entry", second, message).help("an entry stands in one file alone"),
        );
    }
}
