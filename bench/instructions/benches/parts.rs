//! Parts of a request: reading heads, classing fields, finding the route.

#![expect(
    unused_qualifications,
    clippy::exit,
    clippy::disallowed_methods,
    reason = "the macros of the benchmark library make them"
)]

use std::hint::black_box;

use bytes::BytesMut;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use http::{HeaderMap, Method};
use mainstay_bench::FIELDS;
use mainstay_policy::route::{
    HostPattern, Lookup, MethodSpec, Router, RouterBuilder, Template, canonical_path,
};
use mainstay_proxy::fields::Seen;
use mainstay_proxy::forward::headers::strip_response;
use mainstay_wire::{HeadLimits, HeadScan, take_request_head, take_response_head};

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: 32 * 1024, fields_max: 100, target_bytes_max: 8192 };
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nserver: nginx\r\ndate: Tue, 24 Nov 2026 08:00:14 GMT\r\n\
content-type: application/json\r\ncontent-length: 96\r\nconnection: keep-alive\r\n\r\n";

fn request_bytes() -> (BytesMut, HeadScan) {
    let head = format!("GET /v1/payments/pay_1?expand=fees HTTP/1.1\r\n{FIELDS}\r\n");
    (BytesMut::from(head.as_bytes()), HeadScan::default())
}

fn response_bytes() -> (BytesMut, HeadScan) {
    (BytesMut::from(RESPONSE.as_bytes()), HeadScan::default())
}

fn request_fields() -> HeaderMap {
    let (mut bytes, mut scan) = request_bytes();
    let head = take_request_head(&mut bytes, &mut scan, &LIMITS);
    head.ok().flatten().map(|head| head.headers).unwrap_or_default()
}

fn response_fields() -> HeaderMap {
    let (mut bytes, mut scan) = response_bytes();
    let head = take_response_head(&mut bytes, &mut scan, &LIMITS, &Method::GET);
    head.ok().flatten().map(|head| head.headers).unwrap_or_default()
}

#[library_benchmark]
#[bench::four_fields(request_bytes())]
fn request_head((mut bytes, mut scan): (BytesMut, HeadScan)) -> bool {
    black_box(take_request_head(&mut bytes, &mut scan, &LIMITS)).is_ok_and(|head| head.is_some())
}

#[library_benchmark]
#[bench::five_fields(response_bytes())]
fn response_head((mut bytes, mut scan): (BytesMut, HeadScan)) -> bool {
    black_box(take_response_head(&mut bytes, &mut scan, &LIMITS, &Method::GET))
        .is_ok_and(|head| head.is_some())
}

#[library_benchmark]
#[bench::request(request_fields())]
fn classed(headers: HeaderMap) -> (HeaderMap, Seen) {
    let seen = black_box(Seen::of(black_box(&headers)));
    (headers, seen)
}

#[library_benchmark]
#[bench::response(response_fields())]
fn stripped(mut headers: HeaderMap) -> HeaderMap {
    strip_response(black_box(&mut headers));
    headers
}

fn router(operations: usize) -> Router<usize> {
    let mut builder = RouterBuilder::new();
    let any = HostPattern::parse("*").expect("a host pattern");
    for n in 0..operations {
        let template = Template::parse(&format!("/v1/resource{n:04}/{{id}}")).expect("a template");
        builder.insert(&any, &template, MethodSpec::new("GET"), n).expect("no two alike");
    }
    builder.build()
}

#[library_benchmark]
#[bench::of_10_operations(router(10))]
#[bench::of_1000_operations(router(1000))]
fn route(router: Router<usize>) -> (Router<usize>, bool) {
    let path = canonical_path(black_box(b"/v1/resource0007/pay_1")).expect("a canonical path");
    let found = matches!(router.find(Some("api.example.com"), &path, "GET"), Lookup::Found { .. });
    (router, found)
}

library_benchmark_group!(name = parts, benchmarks = [request_head, response_head, classed, stripped, route]);

main!(
    config = LibraryBenchmarkConfig::default()
        .pass_through_env("GLIBC_TUNABLES")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = parts
);
