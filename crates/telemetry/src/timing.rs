//! What a request's record costs: a report, not a gate. Run it with
//! `cargo test --release -p mainstay-telemetry -- --ignored --nocapture timing`.

use std::hint::black_box;

use mainstay_core::Trail;
use mainstay_core::clock::{UnixMs, monotonic};

use crate::{AccessRecord, LogFormat, LogPlan, LogWriter, Output, Recent, Registry, write_record};

const ROUNDS: u64 = 1_000_000;

fn time(what: &str, mut f: impl FnMut(u64)) {
    (0..ROUNDS / 10).for_each(&mut f);
    let start = monotonic();
    (0..ROUNDS).for_each(&mut f);
    println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(ROUNDS));
}

fn record<'a>(n: u64, id: &'a str, trail: &'a Trail) -> AccessRecord<'a> {
    AccessRecord {
        ts: UnixMs(1_801_476_000_000 + (n / 50) as i64),
        node: Some("edge-1"),
        config: Some("3f2a11bc90de"),
        request_id: id,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        method: "GET",
        route: Some("/payments/v1/payments/{id}"),
        api: Some("payments"),
        owner: Some("team-payments"),
        version: Some("v1"),
        operation: Some("getPayment"),
        client: Some([10, 20, 30, 40].into()),
        status: 200,
        duration_us: 1_234 + n % 1_000,
        upstream_us: Some(987),
        upstream: Some(("payments", "127.0.0.1:9001")),
        attempts: Some(1),
        bytes_out: 483,
        trail: Some(trail),
        ..AccessRecord::default()
    }
}

#[test]
#[ignore = "prints timings, which only mean something in a release build on a quiet machine"]
fn timing() {
    let registry = Registry::new();
    let cells = registry.worker();
    let counter = registry.counter("c_total", "h", &[("a", "b")]);
    let gauge = registry.gauge("g", "h", &[]);
    let histogram = registry.histogram("h_seconds", "h", &[("a", "b")]);
    let (id, trail) = ("01881234-5678-7abc-8def-0123456789ab", Trail::default());
    let count = |n: u64| {
        cells.gauge_add(black_box(gauge), 1);
        cells.inc(black_box(counter));
        cells.observe_us(black_box(histogram), n % 20_000);
        cells.observe_us(black_box(histogram), n % 10_000);
        cells.gauge_add(black_box(gauge), -1);
    };
    time("five cells", count);

    let (json, mut out) = (LogPlan::default(), Vec::new());
    time("a JSON line", |n| {
        out.clear();
        write_record(&mut out, black_box(&record(n, id, &trail)), &json);
    });
    println!("  of {} bytes", out.len());
    let text = LogPlan::new::<&str>(LogFormat::Text, &[]).unwrap();
    time("a text line", |n| {
        out.clear();
        write_record(&mut out, black_box(&record(n, id, &trail)), &text);
    });

    let recent = Recent::new();
    let ring = recent.worker();
    time("an offer to the recent ones", |n| ring.offer(black_box(&record(n, id, &trail)), &json));

    let writer = LogWriter::start(Output::File("/dev/null".into()), 4 << 20).unwrap();
    let queue = writer.worker();
    time("all of it, with the queue", |n| {
        count(n);
        let record = record(n, id, &trail);
        ring.offer(&record, &json);
        queue.push_with(|out| write_record(out, black_box(&record), &json));
    });
    println!("  dropped: {}", writer.flush_and_stop(std::time::Duration::from_secs(10)));
}
