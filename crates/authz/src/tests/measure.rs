//! What a decision costs. Reports only: `cargo test --release -p mainstay-authz -- --ignored --nocapture measure`.

use std::hint::black_box;
use std::num::NonZeroUsize;

use mainstay_core::ScopeNames;
use mainstay_core::clock::monotonic;

use super::{NOON, body, consumer, file, inputs, long};
use crate::strict::{Limits, check};
use crate::{Body, Cache, Input, Inputs, Policies, decide};

fn nanoseconds(what: &str, times: u32, mut each: impl FnMut()) {
    (0..times / 10).for_each(|_| each());
    let mut best = f64::MAX;
    for _ in 0..5 {
        let begin = monotonic();
        (0..times).for_each(|_| each());
        best = best.min(begin.elapsed().as_secs_f64() / f64::from(times));
    }
    println!("{what}: {:.0} ns", best * 1e9);
}

fn policies(count: usize, condition: &str) -> Policies {
    let one = |n: usize| {
        format!(
            "@id(\"p{n}\") permit(principal in Group::\"g{n}\", action == Action::\"createRefund\", resource) when {{ {condition} }};\n"
        )
    };
    let text: String = (0..count).map(one).collect();
    let inputs = Inputs { policies: vec![file("payments", &text)], ..inputs(&[]) };
    let begin = monotonic();
    let built = Policies::build(&inputs).unwrap();
    println!("building {count}: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    built
}

#[test]
#[ignore = "a report of this machine's speed, not a check"]
fn measure_decisions() {
    let scopes = ScopeNames::default();
    let who =
        consumer("acme", &["g0", "tellers"], &[("refund_max", long(500)), ("bank", super::text("north"))]);
    let address = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let path = [("id", "pay_0000000000001")];
    let amount =
        r#"{"amount":{"value":125,"currency":"EUR"},"reason":"returned goods","reference":"2026-000123"}"#;
    for count in [1, 10, 50] {
        let on_body = policies(count, "context.body.amount <= principal.refund_max");
        let plan = on_body.find("payments", "v1", "createRefund").unwrap();
        let fields = body(plan, amount);
        let input = Input { path: &path, body: &fields, address, scopes: &scopes };
        nanoseconds(&format!("{count} policies, amount, uncached"), 2_000, || {
            black_box(decide(plan, &who, &input, NOON));
        });
        let on_path = policies(count, "principal.bank == resource.path.id");
        let plan = on_path.find("payments", "v1", "createRefund").unwrap();
        let input = Input { path: &path, body: &Body::None, address, scopes: &scopes };
        nanoseconds(&format!("{count} policies, path, uncached"), 2_000, || {
            black_box(decide(plan, &who, &input, NOON));
        });
        let mut cache = Cache::new(NonZeroUsize::new(10_000).unwrap());
        nanoseconds(&format!("{count} policies, path, cached"), 200_000, || {
            black_box(cache.decide(&on_path, plan, &who, &input, NOON));
        });
    }
    let plan_of = policies(1, "context.body.amount <= 5");
    let plan = plan_of.find("payments", "v1", "createRefund").unwrap();
    nanoseconds("reading a body of 93 bytes", 200_000, || {
        let document = check(black_box(amount.as_bytes()), &Limits::DEFAULT).unwrap();
        black_box(Body::read(&document, plan.fields()));
    });
}
