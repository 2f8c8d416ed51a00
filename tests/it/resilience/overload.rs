//! More than an upstream can do: what is done is as much as ever, and soon.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mainstay::Output;
use mainstay_core::clock::Clock;
use mainstay_testkit::memory::{Dial, Peer, STREAM_BYTES};
use mainstay_testkit::rig::Rig;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::{GET, OK, ask, config, next_request, status};
use crate::paused::paused;

/// Requests that the upstream works on at once, and what each takes: its capacity is 100 a second.
const SLOTS: usize = 10;
const SERVICE_MS: u64 = 100;
const CAPACITY: u64 = 1000 * SLOTS as u64 / SERVICE_MS;
/// Each overload takes so long.
const SECONDS: u64 = 30;

/// An upstream with slots. What does not fit waits there, however long: that is what has to be kept from it.
fn upstream() -> Dial {
    let slots = Arc::new(Semaphore::new(SLOTS));
    Arc::new(move || {
        let (near, far) = tokio::io::duplex(STREAM_BYTES);
        let slots = Arc::clone(&slots);
        tokio::task::spawn_local(async move {
            let mut peer = Peer(far);
            while next_request(&mut peer).await.is_some() {
                let _slot = slots.acquire().await.unwrap();
                sleep(Duration::from_millis(SERVICE_MS)).await;
                if peer.0.write_all(OK.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        Ok(near.into())
    })
}

/// When answers came, how long they took, and their statuses.
type Answers = Rc<RefCell<Vec<(u64, u64, u16)>>>;

/// Sends so many a second, whatever becomes of those before, from addresses of its own time.
async fn load(rig: &Rc<Rig>, per_second: u64, seconds: u64, answers: &Answers) {
    let began = Instant::now();
    let mut asked = Vec::new();
    for n in 0..per_second * seconds {
        sleep_until(began + Duration::from_micros(n * 1_000_000 / per_second)).await;
        let (rig, answers) = (Rc::clone(rig), Rc::clone(answers));
        asked.push(tokio::task::spawn_local(async move {
            let sent = Instant::now();
            let status = status(&ask(&rig, GET).await);
            let at_ms = began.elapsed().as_millis() as u64;
            answers.borrow_mut().push((at_ms, sent.elapsed().as_millis() as u64, status));
        }));
    }
    for one in asked {
        one.await.unwrap();
    }
}

/// Good answers a second after the first ten seconds, and the p99 of how long they took.
fn of(answers: &Answers, seconds: u64) -> (f64, u64) {
    let (from, to) = (10_000, seconds * 1000);
    let answers = answers.borrow();
    let mut good: Vec<u64> = answers
        .iter()
        .filter(|(at_ms, _, status)| (from..to).contains(at_ms) && *status == 200)
        .map(|(_, took_ms, _)| *took_ms)
        .collect();
    good.sort_unstable();
    let p99 = good.get(good.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(u64::MAX);
    (good.len() as f64 * 1000.0 / (to - from) as f64, p99)
}

#[test]
fn goodput_stays_and_what_is_admitted_stays_quick_at_any_overload() {
    for (limit, loads) in [("adaptive", &[1, 2, 5, 10][..]), ("10", &[1, 5][..])] {
        let mut curve = Vec::new();
        for &times in loads {
            paused(async {
                let keys = format!(
                    ", retries: off, concurrency: {{ limit: {limit}, max: 200, queue: 20, queue_wait: 200ms }}"
                );
                let text = config(&["127.0.0.1:1"], &keys, "timeouts: { attempt: 3s, total: 5s }");
                let rig = Rc::new(Rig::start(&text, Clock::System, Output::None, &upstream()));
                // As engines start: with less than there will be.
                load(&rig, CAPACITY / 2, 3, &Answers::default()).await;
                let answers = Answers::default();
                load(&rig, CAPACITY * times, SECONDS, &answers).await;
                curve.push((times, of(&answers, SECONDS)));
                let is_told = |(_, _, status): &(u64, u64, u16)| matches!(status, 200 | 503);
                assert!(answers.borrow().iter().all(is_told), "{limit} {times}");
                // It is over as soon as the load is.
                let after = Answers::default();
                load(&rig, CAPACITY / 2, 3, &after).await;
                let late = after.borrow().iter().filter(|(at, _, s)| *at > 1000 && *s != 200).count();
                assert_eq!(late, 0, "{limit} {times}: a second later everybody is served");
                assert_eq!(rig.metric("http_server_active_requests"), Some(0.0));
                assert_eq!(rig.metric("mainstay_upstream_in_flight"), Some(0.0));
            });
        }
        println!("{limit}: times of capacity, (good a second, p99 in ms): {curve:?}");
        let peak = curve.iter().map(|(_, (good, _))| *good).fold(0.0, f64::max);
        for (times, (good, p99_ms)) in curve {
            assert!(good >= 0.9 * peak && good >= 0.9 * CAPACITY as f64, "{limit} {times}: {good} of {peak}");
            assert!(p99_ms <= 1000, "{limit} {times}: {p99_ms} ms");
        }
    }
}
