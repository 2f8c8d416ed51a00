//! The curve of goodput over load, over real sockets: at once, twice, five and ten times what an upstream can do, and after it.
//!
//! What makes it the same on any machine:
//!
//! - **The capacity is known and small.** The upstream has [`SLOTS`] and each request keeps one for [`SERVICE`]: 50 a second, so
//!   ten times as much is still little work for the engine, its callers and its upstream.
//! - **Goodput is a share of the slots' time**, as the upstream counted it: the time that slots were taken for requests whose
//!   callers got the answer. A timer that fires late makes a request longer and leaves that share as it is. It falls when slots
//!   lie idle because too few are let in, and when they work for callers who have been told something else.
//! - **A load that was not put on is not judged.** Callers are open-loop: each has its time, and latencies count from it. If one in
//!   a hundred was sent later than [`LATE_MAX`], the machine was too busy to put the load on; it is put on again, and if that is so
//!   [`TRIES`] times, the test fails and says so.
//! - `xtask/nextest.toml` lets nothing else of the same run work meanwhile.
//!
//! The loads follow each other without a pause, on one engine. The curve is printed, and written to `overload-*.md` in the
//! temporary folder of cargo's target.

mod callers;
mod figures;

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use mainstay_testkit::upstream::{Reply, Upstream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use self::callers::{CLASSES, Callers, Load};
use self::figures::{HEAD, Line};
use super::sockets::{ONCE, World, ask, get, text};

const SLOTS: usize = 10;
const SERVICE: Duration = Duration::from_millis(200);
/// Requests a second.
const CAPACITY: f64 = SLOTS as f64 / 0.2;
/// Of the capacity, at any load: so `critical` alone is never too much.
const CRITICAL: f64 = 0.4 * CAPACITY;
const QUEUE: usize = 20;
const QUEUE_WAIT: Duration = Duration::from_millis(400);

/// A load that follows a lower one is judged from here on: by then all slots can be taken.
const RAMP: Duration = Duration::from_millis(400);
/// Less than there is room for follows on too much, and everybody is served again after this.
const RECOVERED: (f64, Duration) = (0.7, Duration::from_secs(1));

const LATE_MAX: Duration = Duration::from_millis(100);
const TRIES: usize = 3;
/// What the machine may add to the latency of what was admitted: some of it is late already when it is sent.
const ALLOWANCE: Duration = Duration::from_millis(300);
/// In an adaptive limit, some wait at the upstream itself.
const SERVICES_MAX: u32 = 3;

/// An engine before an upstream with slots, and its callers.
struct Curve {
    upstream: Upstream,
    world: World,
    callers: Callers,
    /// Each load's times of the capacity, and when it is judged.
    loads: Vec<(f64, Range<Instant>)>,
}

impl Curve {
    async fn start(concurrency: &str) -> Self {
        let upstream = Upstream::http1(|_| Reply::ok("ok"));
        upstream.slots(SLOTS, SERVICE);
        let keys = format!("{ONCE}, timeouts: {{ attempt: 3s, total: 5s }}, concurrency: {concurrency}");
        let operations = CLASSES.map(|class| format!("\"GET /{class}/{{n}}\": {{ priority: {class} }}"));
        let text = text(&[upstream.address], &keys)
            .replace("workers: 2", "workers: 2, health_path: /up")
            .replace("\"* /{*rest}\": {}", &operations.join(", "));
        let world = World::start(&text).await;
        let callers = Callers::new(world.setup.address(), 4);
        Self { upstream, world, callers, loads: Vec::new() }
    }

    /// Puts on one load after another, and again until each of them was put on as it should be.
    async fn put_on(&mut self, loads: &[f64], length: Duration) {
        for _ in 0..TRIES {
            let mut put = Vec::new();
            for &times in loads {
                let watch = self.watch(length);
                let load = self.callers.load(CRITICAL, times * CAPACITY - CRITICAL, length).await;
                watch.await.unwrap();
                put.push((times, load));
            }
            let late: Vec<_> = put.iter().filter(|(_, load)| load.late_p99 > LATE_MAX).collect();
            if late.is_empty() {
                self.loads.extend(put.into_iter().map(|(times, load)| (times, judged(times, &load))));
                return;
            }
            for (times, load) in late {
                say(&format!(
                    "{times} times the capacity was not put on: callers were {:?} late",
                    load.late_p99
                ));
            }
        }
        panic!("{TRIES} times in a row this machine was too busy to put on {loads:?} times the capacity");
    }

    /// Who watches the engine gets an answer, whatever the load: ten times within that long.
    fn watch(&self, length: Duration) -> JoinHandle<()> {
        let (data, control) = (self.world.setup.address(), self.world.setup.engine.control);
        let began = Instant::now();
        tokio::spawn(async move {
            for n in 0..10 {
                sleep_until(began + length * n / 10).await;
                for (address, path) in [(data, "/up"), (control, "/readyz")] {
                    let answer = ask(address, &get(path).replace("Host: a", "Host: localhost")).await;
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
                }
            }
        })
    }

    /// Waits until all is over, and gives a line for each load.
    async fn end(self) -> Vec<Line> {
        let (asked, connections) = self.callers.end().await;
        assert!(connections < asked.len() / 4, "{connections} connections for {} requests", asked.len());
        for one in &asked {
            let is_told = match one.answer.status {
                200 => true,
                503 => {
                    one.answer.retry_after.is_some_and(|seconds| seconds > 0)
                        && ["queue_full", "queue_timeout"].contains(&one.answer.code.as_str())
                }
                _ => false,
            };
            let answer = (one.answer.status, &one.answer.code, one.answer.retry_after);
            assert!(is_told, "{} {}: {answer:?}", one.class, one.number);
        }
        self.world.nothing_left(&[]).await;
        self.world.stop().await;
        let log = self.upstream.log();
        self.loads.iter().map(|(times, span)| Line::of(*times, span, &asked, &log)).collect()
    }
}

fn judged(times: f64, load: &Load) -> Range<Instant> {
    let ramp = if times < 1.0 { RECOVERED.1 } else { RAMP };
    load.span.start + ramp..load.span.end
}

/// The curve with one way of limiting: printed, written down, and judged.
async fn curve(name: &str, limit: &str, length: Duration) {
    let (queue, wait_ms) = (QUEUE, QUEUE_WAIT.as_millis());
    let concurrency = format!("{{ limit: {limit}, max: 200, queue: {queue}, queue_wait: {wait_ms}ms }}");
    let mut curve = Curve::start(&concurrency).await;
    curve.put_on(&[1.0], length).await;
    curve.put_on(&[2.0], length).await;
    curve.put_on(&[5.0], length).await;
    // What follows on ten times is only what it should be if it does follow on that.
    curve.put_on(&[10.0, RECOVERED.0], length).await;
    let lines = curve.end().await;
    let rows: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let table = format!("{HEAD}\n{}\n", rows.join("\n"));
    say(&format!("limit: {limit}, {length:?} each\n{table}"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("overload-{name}.md"));
    std::fs::write(file, &table).unwrap();
    judge(&lines);
}

#[expect(clippy::print_stdout, reason = "the runner shows it when the test fails, or when it is asked to")]
fn say(text: &str) {
    println!("{text}");
}

fn judge(lines: &[Line]) {
    let peak = lines.iter().map(|line| line.used).fold(0.0, f64::max);
    assert!(peak > 0.85, "at no load were the slots in use: {peak}");
    let (after, loads) = lines.split_last().unwrap();
    for line in loads {
        let times = line.times;
        // At the capacity itself, a limit that is as low as that keeps the last places from `low`.
        let is_kept = times < 2.0 || line.used >= 0.9 * peak;
        assert!(is_kept, "{times}: {} of the slots' time, and {peak} at the peak", line.used);
        let p99_max = QUEUE_WAIT + SERVICES_MAX * SERVICE.max(line.service) + ALLOWANCE;
        assert!(line.p99 <= p99_max, "{times}: p99 {:?} is above {p99_max:?}", line.p99);
        assert_eq!(line.critical.1, line.critical.0, "{times}: critical ones that were good");
        // Of what is twice the capacity and more, most of the excess has nowhere to be.
        let excess = line.offered as f64 * (1.0 - 1.0 / times);
        assert!(line.offered - line.good >= (excess / 2.0) as usize, "{times}: there was no overload");
    }
    assert_eq!(after.good, after.offered, "afterwards everybody is served: {:?}", after.refused);
}

const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodput_stays_with_a_limit_that_is_a_number() {
    curve("fixed", "10", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn goodput_stays_with_a_limit_that_adapts() {
    curve("adaptive", "adaptive", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn goodput_stays_for_long_with_a_limit_that_is_a_number() {
    curve("fixed-long", "10", LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn goodput_stays_for_long_with_a_limit_that_adapts() {
    curve("adaptive-long", "adaptive", LONG).await;
}
