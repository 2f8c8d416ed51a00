//! The last requests of each worker, for `mainstay explain --request-id`.
//!
//! Kept are those that somebody may ask about (an error status, a problem, an abort, a decision that was not
//! plain), and one in [`PLAIN_ONE_IN`] of the others, so that a request where all is well costs an addition.
//! A worker has a ring of its own; the lock that the control side shares with it is held for a copy of one
//! entry at most, and entries are reused, so that nothing is allocated once the ring is full.

use std::cell::Cell;
use std::sync::{Arc, Mutex};

use mainstay_core::Trail;
use mainstay_core::clock::UnixMs;

use crate::lock;
use crate::log::{AccessRecord, LogPlan, write_record};

/// Requests that one worker remembers.
pub const ENTRIES_MAX: usize = 256;
/// Bytes of one entry; of a longer one's trail only the number of decisions is kept, and nothing at all of one
/// that is still too long then.
pub const ENTRY_BYTES_MAX: usize = 4096;
/// Of the plain requests one in this many is kept.
pub const PLAIN_ONE_IN: u32 = 16;

/// The control side: finds a request over all workers.
#[derive(Default)]
pub struct Recent {
    rings: Mutex<Vec<Arc<Mutex<Ring>>>>,
}

#[derive(Default)]
struct Ring {
    entries: Vec<Entry>,
    /// Where the next one goes once the ring is full: the oldest.
    next: usize,
}

#[derive(Default)]
struct Entry {
    ts: UnixMs,
    request_id: Vec<u8>,
    json: Vec<u8>,
}

/// A worker's end.
pub struct RecentRing {
    ring: Arc<Mutex<Ring>>,
    plain: Cell<u32>,
    /// Swapped with the entry that is replaced.
    spare: Cell<Entry>,
}

impl Recent {
    /// No requests yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A ring for one more worker. What an ended worker remembered is forgotten with it.
    pub fn worker(&self) -> RecentRing {
        let ring = Arc::new(Mutex::default());
        let mut rings = lock(&self.rings);
        rings.retain(|ring| Arc::strong_count(ring) > 1);
        rings.push(Arc::clone(&ring));
        RecentRing { ring, plain: Cell::new(0), spare: Cell::default() }
    }

    /// The access log's object of this request as JSON text; the latest, if a client used an id twice.
    pub fn find(&self, request_id: &str) -> Option<String> {
        let rings = lock(&self.rings).clone();
        let mut found: Option<(UnixMs, Vec<u8>)> = None;
        for ring in rings {
            for entry in &lock(&ring).entries {
                let later = found.as_ref().is_none_or(|(ts, _)| entry.ts >= *ts);
                if later && entry.request_id == request_id.as_bytes() {
                    found = Some((entry.ts, entry.json.clone()));
                }
            }
        }
        found.and_then(|(_, json)| String::from_utf8(json).ok())
    }
}

impl RecentRing {
    /// Remembers the request, if it is one to remember, with the plan's redactions.
    #[inline]
    pub fn offer(&self, record: &AccessRecord<'_>, plan: &LogPlan) {
        if record.is_plain() {
            let count = self.plain.get().wrapping_add(1);
            self.plain.set(count);
            if !count.is_multiple_of(PLAIN_ONE_IN) {
                return;
            }
        }
        self.keep(record, plan);
    }

    fn keep(&self, record: &AccessRecord<'_>, plan: &LogPlan) {
        let mut entry = self.spare.take();
        entry.fill(record, plan);
        if entry.json.len() > ENTRY_BYTES_MAX {
            let counted = record.trail.map(Trail::only_counted);
            entry.fill(&AccessRecord { trail: counted.as_ref(), ..record.clone() }, plan);
        }
        if entry.json.len() > ENTRY_BYTES_MAX {
            return;
        }
        entry.json.shrink_to(ENTRY_BYTES_MAX);
        let mut ring = lock(&self.ring);
        if ring.entries.len() < ENTRIES_MAX {
            ring.entries.push(entry);
            return;
        }
        let next = ring.next;
        std::mem::swap(&mut ring.entries[next], &mut entry);
        ring.next = (next + 1) % ENTRIES_MAX;
        drop(ring);
        self.spare.set(entry);
    }
}

impl Entry {
    fn fill(&mut self, record: &AccessRecord<'_>, plan: &LogPlan) {
        self.ts = record.ts;
        self.request_id.clear();
        self.request_id.extend_from_slice(record.request_id.as_bytes());
        self.json.clear();
        write_record(&mut self.json, record, &plan.as_json());
        // The newline belongs to the log.
        self.json.pop();
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::{ProblemCode, Stage};

    use super::*;
    use crate::log::LogFormat;

    fn record(id: &str, status: u16) -> AccessRecord<'_> {
        AccessRecord { request_id: id, method: "GET", status, ..AccessRecord::default() }
    }

    #[test]
    fn the_ring_and_its_entries_are_bounded() {
        let recent = Recent::new();
        let ring = recent.worker();
        let long = "x".repeat(ENTRY_BYTES_MAX);
        ring.offer(&record(&long, 500), &LogPlan::default());
        assert_eq!(recent.find(&long), None, "an entry that cannot be made short is not kept");

        let mut trail = Trail::default();
        trail.add(Stage::Send, long.clone());
        ring.offer(&AccessRecord { trail: Some(&trail), ..record("long", 502) }, &LogPlan::default());
        let kept = recent.find("long").unwrap();
        let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(
            (kept["status"].as_u64(), &kept["trail"]),
            (Some(502), &serde_json::json!([{"left_out": 1}]))
        );

        for n in 0..ENTRIES_MAX {
            ring.offer(&record(&n.to_string(), 500), &LogPlan::default());
        }
        assert_eq!(recent.find("long"), None, "the oldest made room");
        assert!((0..ENTRIES_MAX).all(|n| recent.find(&n.to_string()).is_some()));
        assert_eq!(lock(&ring.ring).entries.len(), ENTRIES_MAX);
    }

    #[test]
    fn what_somebody_may_ask_about_is_kept() {
        let recent = Recent::new();
        let ring = recent.worker();
        let mut trail = Trail::default();
        let plan = LogPlan::new(LogFormat::Text, &["client"]).unwrap();
        ring.offer(&AccessRecord { trail: Some(&trail), ..record("plain", 200) }, &plan);
        assert_eq!(recent.find("plain"), None);
        trail.add(Stage::Version, "deprecated");
        let kept = [
            ("status", record("status", 404)),
            ("none", record("none", 0)),
            ("trail", AccessRecord { trail: Some(&trail), ..record("trail", 200) }),
            ("problem", AccessRecord { problem: Some(ProblemCode::UpstreamReset), ..record("problem", 200) }),
            ("aborted", AccessRecord { aborted: Some("client"), ..record("aborted", 200) }),
        ];
        for (id, record) in kept {
            let record = AccessRecord { client: Some([10, 0, 0, 1].into()), ..record };
            ring.offer(&record, &plan);
            let json: serde_json::Value = serde_json::from_str(&recent.find(id).unwrap()).unwrap();
            assert_eq!(
                (json["request_id"].as_str(), json["client"].as_str()),
                (Some(id), Some("[redacted]"))
            );
        }
        let plain: Vec<_> = (0..64).map(|n| format!("plain-{n}")).collect();
        plain.iter().for_each(|id| ring.offer(&record(id, 200), &plan));
        assert_eq!(plain.iter().filter(|id| recent.find(id).is_some()).count(), 4);
    }

    #[test]
    fn the_latest_of_all_workers_is_found_while_they_live() {
        let recent = Recent::new();
        let (one, two) = (recent.worker(), recent.worker());
        let at = |ms, status| AccessRecord { ts: UnixMs(ms), ..record("same", status) };
        one.offer(&at(2, 502), &LogPlan::default());
        two.offer(&at(1, 503), &LogPlan::default());
        assert!(recent.find("same").unwrap().contains("502"));
        two.offer(&at(3, 504), &LogPlan::default());
        assert!(recent.find("same").unwrap().contains("504"));
        drop(two);
        let _three = recent.worker();
        assert!(recent.find("same").unwrap().contains("502"));
    }
}
