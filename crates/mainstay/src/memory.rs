//! `server.limits.memory`: resident memory, and what is done when there is too much of it.
//!
//! It is looked at four times a second beside the data plane. Above the limit new requests are refused with 503 until it has fallen below
//! 95 % of it; what runs goes on, so that memory is given back. Health endpoints and the control listener are not concerned.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use mainstay_config::checked::MemoryLimit;
use mainstay_proxy::worker::EngineShared;
use mainstay_telemetry::{Event, Registry};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Of the limit of the control group, where that decides.
const SHARE_OF_GROUP: f64 = 0.9;
/// Of the limit: below it requests are served again.
const SHARE_AGAIN: f64 = 0.95;
const NONE: u64 = u64::MAX;

/// The limit that is in force, in bytes.
#[derive(Debug)]
pub(crate) struct Memory(AtomicU64);

impl Memory {
    /// As configured.
    pub(crate) fn new(limit: MemoryLimit) -> Arc<Self> {
        let memory = Arc::new(Self(AtomicU64::new(NONE)));
        memory.set(limit);
        memory
    }

    /// Another limit from now on.
    pub(crate) fn set(&self, limit: MemoryLimit) {
        let bytes = match limit {
            MemoryLimit::Off => NONE,
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Auto => group_limit(Path::new("/sys/fs/cgroup"), &own_group())
                .map_or(NONE, |bytes| (bytes as f64 * SHARE_OF_GROUP) as u64),
        };
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn limit(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|bytes| *bytes != NONE)
    }

    /// Looks at memory for as long as the engine lives.
    pub(crate) async fn watch(self: Arc<Self>, engine: Weak<EngineShared>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        loop {
            every.tick().await;
            let Some(shared) = engine.upgrade() else { return };
            self.look(&shared, resident_bytes());
        }
    }

    fn look(&self, shared: &EngineShared, resident_bytes: Option<u64>) {
        let was_out = shared.is_out_of_memory.load(Ordering::Relaxed);
        let (Some(limit_bytes), Some(resident_bytes)) = (self.limit(), resident_bytes) else {
            shared.is_out_of_memory.store(false, Ordering::Relaxed);
            return;
        };
        let again = (limit_bytes as f64 * SHARE_AGAIN) as u64;
        let is_out = resident_bytes > if was_out { again } else { limit_bytes };
        if is_out == was_out {
            return;
        }
        shared.is_out_of_memory.store(is_out, Ordering::Relaxed);
        shared.events.emit(&if is_out {
            Event::MemoryLimitReached { resident_bytes, limit_bytes }
        } else {
            Event::MemoryLimitOver { resident_bytes, limit_bytes }
        });
    }

    /// Gauges that are read when somebody scrapes.
    pub(crate) fn observe(self: &Arc<Self>, registry: &Registry) {
        registry.observe_while(Arc::downgrade(self), |memory, scrape| {
            if let Some(bytes) = resident_bytes() {
                let help = "Memory of the process that is resident.";
                scrape.gauge("mainstay_memory_resident_bytes", help, &[], bytes as f64);
            }
            if let Some(bytes) = memory.limit() {
                let help = "Resident memory above which new requests are refused.";
                scrape.gauge("mainstay_memory_limit_bytes", help, &[], bytes as f64);
            }
        });
    }
}

/// Resident pages of this process (proc(5), `statm`).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The path of this process' control group (cgroups(7), version 2).
fn own_group() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    PathBuf::from(path)
}

/// The smallest limit of a group and of those above it.
fn group_limit(root: &Path, group: &Path) -> Option<u64> {
    let of = |group: &Path| {
        let text = std::fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    group.ancestors().filter_map(of).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_all_groups_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let leaf = root.path().join("a/b");
        std::fs::create_dir_all(&leaf).unwrap();
        assert_eq!(group_limit(root.path(), Path::new("a/b")), None);
        std::fs::write(leaf.join("memory.max"), "max\n").unwrap();
        assert_eq!(group_limit(root.path(), Path::new("a/b")), None);
        std::fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(leaf.join("memory.max"), "2000\n").unwrap();
        assert_eq!(group_limit(root.path(), Path::new("a/b")), Some(1000));
        std::fs::write(leaf.join("memory.max"), "500\n").unwrap();
        assert_eq!(group_limit(root.path(), Path::new("a/b")), Some(500));
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}
