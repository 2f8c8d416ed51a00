//! Who still calls what is deprecated.
//!
//! Bounded: a version remembers so many callers; requests of further ones are counted together. The lock is
//! taken only for requests to deprecated versions, for the time of one increment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Callers that are told apart for one version.
pub const CALLERS_MAX: usize = 1000;

/// Who calls: the consumer where one is known, else the client's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    /// A consumer, or a user without one.
    Known(Arc<str>),
    /// An address.
    Address(IpAddr),
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Counts by api, version and caller.
#[derive(Debug, Default)]
pub struct CallerCounts(Mutex<ByVersion>);

/// Callers by api and version.
type ByVersion = HashMap<(Arc<str>, Arc<str>), Callers>;

/// Api, version, requests by caller, requests of the others.
pub type VersionTotal = (Arc<str>, Arc<str>, Vec<(Who, u64)>, u64);

/// The callers of one version.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Requests by caller.
    pub by_caller: HashMap<Who, u64>,
    /// Requests of callers that did not fit in.
    pub others: u64,
}

impl CallerCounts {
    /// Counts one request. Who is neither known nor has an address is one of the others.
    pub fn count(&self, api: &Arc<str>, version: &Arc<str>, caller: Option<Who>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let callers = all.entry((Arc::clone(api), Arc::clone(version))).or_default();
        let full = callers.by_caller.len() >= CALLERS_MAX;
        let Some(caller) = caller else {
            callers.others += 1;
            return;
        };
        match callers.by_caller.get_mut(&caller) {
            Some(count) => *count += 1,
            None if full => callers.others += 1,
            None => {
                callers.by_caller.insert(caller, 1);
            }
        }
    }

    /// The callers of a version, most requests first, and the requests of the others.
    pub fn of(&self, api: &str, version: &str) -> (Vec<(Who, u64)>, u64) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(callers) = all.get(&(Arc::from(api), Arc::from(version))) else { return (Vec::new(), 0) };
        let mut list: Vec<_> =
            callers.by_caller.iter().map(|(caller, count)| (caller.clone(), *count)).collect();
        list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        (list, callers.others)
    }

    /// Every version that was called while it was deprecated.
    pub fn totals(&self) -> Vec<VersionTotal> {
        let keys: Vec<_> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.keys().cloned().collect()
        };
        keys.into_iter()
            .map(|(api, version)| {
                let (list, others) = self.of(&api, &version);
                (api, version, list, others)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_bounded() {
        let counts = CallerCounts::default();
        let (api, version): (Arc<str>, Arc<str>) = ("payments".into(), "v1".into());
        for n in 0..CALLERS_MAX as u32 + 5 {
            counts.count(&api, &version, Some(Who::Address(IpAddr::from(n.to_be_bytes()))));
        }
        counts.count(&api, &version, Some(Who::Address(IpAddr::from([0, 0, 0, 7]))));
        let (list, others) = counts.of("payments", "v1");
        assert_eq!((list.len(), others), (CALLERS_MAX, 5));
        assert_eq!(list[0], (Who::Address(IpAddr::from([0, 0, 0, 7])), 2));
    }
}
