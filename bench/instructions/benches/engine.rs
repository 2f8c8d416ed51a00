//! Whole requests: from the bytes of a request to the bytes of its answer, over streams in memory.

#![expect(
    unused_qualifications,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the macros of the benchmark library make them"
)]

use std::hint::black_box;
use std::path::PathBuf;

use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use mainstay_bench::{Driver, FIELDS, RESILIENCE_OFF, RESILIENCE_ON};
use mainstay_telemetry::Output;

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\n{FIELDS}\r\n").into_bytes()
}

fn plain(operations: usize) -> Driver {
    Driver::start(operations, Output::None, get("/v1/resource0007/pay_1"), "200")
}

fn logged() -> Driver {
    let log = Output::File(PathBuf::from("/dev/null"));
    Driver::start(10, log, get("/v1/resource0007/pay_1"), "200")
}

fn post() -> Driver {
    // The body ends with an empty line, by which the upstream knows its end.
    let body = format!("{}\r\n\r\n", "x".repeat(1020));
    let head = format!("POST /v1/resource0007 HTTP/1.1\r\n{FIELDS}Content-Length: {}\r\n\r\n", body.len());
    Driver::start(10, Output::None, [head, body].concat().into_bytes(), "200")
}

fn of(upstream: &str) -> Driver {
    Driver::start_with(upstream, 10, Output::None, get("/v1/resource0007/pay_1"), "200")
}

fn unknown() -> Driver {
    Driver::start(10, Output::None, get("/v1/nothing"), "404")
}

#[library_benchmark]
#[bench::of_10_operations(plain(10))]
#[bench::of_1000_operations(plain(1000))]
#[bench::with_log(logged())]
#[bench::with_body(post())]
#[bench::not_found(unknown())]
#[bench::resilience_off(of(RESILIENCE_OFF))]
#[bench::resilience_on(of(RESILIENCE_ON))]
fn requests(mut driver: Driver) -> Driver {
    black_box(&mut driver).run();
    driver
}

library_benchmark_group!(name = engine, benchmarks = requests);

main!(
    config = LibraryBenchmarkConfig::default()
        .pass_through_env("GLIBC_TUNABLES")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = engine
);
