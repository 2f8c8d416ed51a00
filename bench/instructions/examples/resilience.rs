//! What looking after failures costs a request while nothing fails: processor time of user space, in turns with
//! everything off and everything on. `cargo run --release -p mainstay-bench --example resilience`.
//!
//! The least of many rounds counts: what else runs on the machine only ever adds.

#![expect(clippy::print_stdout, reason = "it is a program that prints its figures")]

use mainstay_bench::{Driver, FIELDS, REQUESTS, RESILIENCE_DEFAULT, RESILIENCE_OFF, RESILIENCE_ON};
use mainstay_telemetry::Output;
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 400;
const RUNS_PER_ROUND: usize = 20;

fn thread_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn main() {
    let start = |upstream| {
        let request = format!("GET /v1/resource0007/pay_1 HTTP/1.1\r\n{FIELDS}\r\n").into_bytes();
        Driver::start_with(upstream, 10, Output::None, request, "200")
    };
    let mut drivers =
        [("off", RESILIENCE_OFF), ("as it comes", RESILIENCE_DEFAULT), ("everything on", RESILIENCE_ON)]
            .map(|(name, upstream)| (name, start(upstream), i64::MAX));
    for _ in 0..ROUNDS {
        for (_, driver, least_ns) in &mut drivers {
            let began = thread_ns();
            for _ in 0..RUNS_PER_ROUND {
                driver.run();
            }
            *least_ns = (*least_ns).min(thread_ns() - began);
        }
    }
    let requests = (RUNS_PER_ROUND * REQUESTS) as f64;
    let [(_, _, off_ns), ..] = drivers;
    for (name, _, least_ns) in drivers {
        let (each, more) = (least_ns as f64 / requests, (least_ns - off_ns) as f64 / requests);
        println!("{name:14} {each:8.0} ns a request, {more:+6.0} ns");
    }
}
