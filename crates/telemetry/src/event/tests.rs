use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::clock::{MonoMs, UnixMs};
use serde_json::{Value, json};

use super::{Event, EventClock, EventLog};
use crate::log::Output;
use crate::metrics::Registry;

struct Setup {
    log: EventLog,
    registry: Arc<Registry>,
    now_ms: Arc<AtomicU64>,
    path: std::path::PathBuf,
}

impl Setup {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mainstay-events-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        let (registry, now_ms) = (Registry::new(), Arc::new(AtomicU64::new(5_000)));
        let now = Arc::clone(&now_ms);
        let clock =
            EventClock::from_fn(move || (UnixMs(1_801_476_000_007), MonoMs(now.load(Ordering::Relaxed))));
        let log = EventLog::start(Output::File(path.clone()), &registry, clock).unwrap();
        Self { log, registry, now_ms, path }
    }

    fn lines(&self) -> Vec<Value> {
        assert!(self.log.flush(Duration::from_secs(60)));
        let text = fs::read_to_string(&self.path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[test]
fn a_kind_that_floods_is_held_back_counted_and_hides_no_other() {
    let setup = Setup::new("flood");
    let flood = |n: u64| (0..n).for_each(|_| setup.log.emit(&Event::LogDropping { output: "stdout" }));
    flood(25);
    assert_eq!(setup.lines().len(), 10);
    setup.log.emit(&Event::LogOutputRecovered { output: "stdout", lines: 3 });
    assert_eq!(setup.lines().len(), 11, "another kind is not held back");
    setup.now_ms.fetch_add(9_999, Ordering::Relaxed);
    flood(1);
    assert_eq!(setup.lines().len(), 11);
    setup.now_ms.fetch_add(1, Ordering::Relaxed);
    flood(2);
    let lines = setup.lines();
    assert_eq!((lines.len(), &lines[11]["suppressed"]), (12, &json!(16)));
    setup.now_ms.fetch_add(1_000_000, Ordering::Relaxed);
    flood(11);
    let lines = setup.lines();
    assert_eq!(lines.len(), 22, "a bucket is never more than full");
    assert_eq!((&lines[12]["suppressed"], &lines[13].get("suppressed")), (&json!(1), &None));
    let text = setup.registry.render();
    assert!(text.contains("mainstay_events_total{event=\"log_dropping\"} 39\n"), "{text}");
}

#[test]
fn a_line_has_time_level_name_sentence_and_fields() {
    let setup = Setup::new("line");
    setup.log.emit(&Event::UntrustedForwarder {
        address: [10, 0, 0, 1].into(),
        share: 0.975,
        key: "server.trusted_proxies",
    });
    setup.log.emit(&Event::ReloadRefused { problems: 2, first: "a \"quoted\"\nline" });
    let lines = setup.lines();
    let message = lines[0]["message"].as_str().unwrap();
    assert!(message.contains("X-Forwarded-For"), "{message}");
    assert_eq!(
        lines[0],
        json!({
            "ts": "2027-02-01T10:00:00.007Z", "level": "warn", "event": "untrusted_forwarder", "message": message,
            "address": "10.0.0.1", "share": 0.975, "key": "server.trusted_proxies",
        })
    );
    assert_eq!((&lines[1]["problems"], &lines[1]["first"]), (&json!(2), &json!("a \"quoted\"\nline")));
    assert_eq!(lines[1]["level"], "error");
}

#[test]
fn names_are_unique_and_sentences_end() {
    let mut names = Event::NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Event::NAMES.len());
    let events = [
        Event::LogDropping { output: "" },
        Event::Drained { duration_ms: 0, cut_short: 0 },
        Event::DescriptorLimit { limit: 0, needed: 0 },
    ];
    assert!(
        events.iter().all(|event| event.message().ends_with('.') && Event::NAMES.contains(&event.name()))
    );
}
