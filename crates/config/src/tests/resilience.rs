//! What keeps answers coming when an upstream fails: its keys, their order, and what lies under them.

use std::time::Duration;

use super::{check, good};
use crate::checked::{
    Balance, BreakerScope, Checked, Concurrency, ConcurrencyLimit, Fallback, HealthProbe, Hedge, HedgeAfter,
    MemoryLimit, Priority, Respond, RetryOn, Upstream,
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// One line of text, in which `^` stands before each place where a problem is expected, in order.
#[track_caller]
fn marked(text: &str, expected: &[&str]) {
    let marks = text.char_indices().filter(|(_, c)| *c == '^').enumerate();
    let columns: Vec<_> = marks.map(|(before, (column, _))| column - before + 1).collect();
    assert_eq!(columns.len(), expected.len(), "a mark for each problem: {text}");
    let rows: Vec<_> =
        expected.iter().zip(columns).map(|(row, column)| format!("{row} 1:{column}")).collect();
    check(&text.replace('^', ""), &rows.iter().map(String::as_str).collect::<Vec<_>>());
}

fn with(keys: &str) -> String {
    format!("upstreams: {{ up: {{ endpoints: http://a, {keys} }}, dr: {{ endpoints: http://b }} }}")
}

/// The keys of an upstream that has another one, `dr`, beside it.
#[track_caller]
fn upstream(keys: &str, expected: &[&str]) {
    marked(&with(keys), expected);
}

fn up(checked: &Checked) -> &Upstream {
    &checked.upstreams["up"]
}

#[test]
fn retries() {
    for attempts in ["0", "11"] {
        upstream(&format!("retries: {{ attempts_max: ^{attempts} }}"), &["error out_of_range"]);
    }
    upstream("retries: { on: [connect, ^500] }", &["error unknown_word"]);
    upstream("retries: { on: ^[] }", &["error empty_list"]);
    upstream("retries: { on: ^off }", &["error unknown_word"]);
    upstream("retries: { backoff: { ^jitter: 1 } }", &["error unknown_key"]);
    upstream("retries: { backoff: { base: ^0ms } }", &["error out_of_range"]);
    upstream("retries: { backoff: { base: ^2s, max: 1s } }", &["error limit_order"]);
    upstream("retries: { budget: { ratio: ^1.1 } }", &["error out_of_range"]);
    upstream("retries: { budget: { floor: ^1 } }", &["error bad_rate"]);
    upstream("retries: { budget: { floor: ^10001/s } }", &["error out_of_range"]);
    upstream("retries: { budget: ^off }", &["error wrong_type"]);
    upstream("retries: { replay_body: ^17MiB }", &["error out_of_range"]);
    upstream("retries: { honours_idempotency_key: ^yes }", &["error bad_boolean"]);
    upstream("retries: ^3", &["error wrong_type"]);
    upstream("retries: ^'off'", &["error wrong_type"]);
    let checked = good(&with(
        "retries: { attempts_max: 10, on: [connect, 503], backoff: { base: 3s }, budget: { ratio: 0, floor: 30/m }, replay_body: 16MiB, honours_idempotency_key: true }",
    ));
    let retries = up(&checked).retries.as_ref().expect("on");
    assert_eq!(retries.attempts_max, 10);
    assert_eq!(retries.on, RetryOn { connect: true, unavailable: true, ..RetryOn::default() });
    // Defaults give way to what was written.
    assert_eq!((retries.backoff_base, retries.backoff_max), (s(3), s(3)));
    assert_eq!((retries.budget_ratio, retries.budget_floor), (0.0, 0.5));
    assert_eq!((retries.replay_body, retries.honours_idempotency_key), (16 << 20, true));
    let checked = good(&with("retries: { backoff: { max: 10ms } }"));
    let retries = up(&checked).retries.as_ref().expect("on");
    assert_eq!((retries.backoff_base, retries.backoff_max), (ms(10), ms(10)));
    assert_eq!(
        retries.on,
        RetryOn { connect: true, reset: true, bad_gateway: true, unavailable: true, gateway_timeout: true }
    );
    assert!(up(&good(&with("retries: off"))).retries.is_none());
}

#[test]
fn time_for_retries() {
    let over = &["warning attempt_over_total"];
    upstream("timeouts: { attempt: ^3s, total: 3s }", over);
    upstream("timeouts: { attempt: ^10s }", over);
    upstream("timeouts: { attempt: ^11s }", &["warning timeout_order"]);
    for keys in [
        "timeouts: { attempt: 3s, total: 3s }, retries: off",
        "timeouts: { attempt: 3s, total: 3s }, retries: { attempts_max: 1 }",
        "timeouts: { attempt: 3s, total: 3s }, retries: { on: [connect, 503] }",
        "timeouts: { attempt: off, total: 3s }",
        "timeouts: { attempt: 3s, total: off }",
        // A short whole over a long part of a wider place is no mistake.
        "timeouts: { total: 5s }",
    ] {
        upstream(keys, &[]);
    }
    let defaults = |keys: &str| {
        format!(
            "upstream_defaults: {{ timeouts: {{ attempt: ^3s, total: 3s }} }}\nupstreams: {{ up: {{ endpoints: http://a, {keys} }} }}"
        )
    };
    marked(&defaults("pool: {}"), over);
    check(&defaults("retries: off").replace('^', ""), &[]);
}

#[test]
fn time_for_retries_of_operations() {
    let text = |retries: &str, method: &str, keys: &str| {
        format!(
            "{{ upstreams: {{ up: {{ endpoints: http://a, retries: {{ {retries} }} }} }}, apis: {{ a: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ {method} /x: {{ {keys} }} }} }} }} }} }} }}"
        )
    };
    let over = &["warning attempt_over_total"];
    marked(&text("", "GET", "timeouts: { attempt: ^2s, total: 2s }"), over);
    marked(&text("", "'*", "timeouts: { attempt: ^10s }").replace("/x:", "/x':"), over);
    marked(&text("honours_idempotency_key: true", "POST", "timeouts: { attempt: ^2s, total: 2s }"), over);
    // Nothing is sent again after it took too long, so it may take all the time there is.
    for method in ["POST", "PATCH", "PUT", "DELETE"] {
        check(&text("", method, "timeouts: { attempt: 2s, total: 2s }"), &[]);
    }
    check(&text("attempts_max: 1", "GET", "timeouts: { attempt: 2s, total: 2s }"), &[]);
    check(&text("", "GET", "timeouts: { total: 5s }"), &[]);
}

#[test]
fn hedge() {
    upstream("hedge: { after: ^p99 }", &["error bad_duration"]);
    upstream("hedge: { after: ^0ms }", &["error out_of_range"]);
    upstream("hedge: { max_ratio: ^0 }", &["error out_of_range"]);
    upstream("hedge: { max_ratio: ^5% }", &["error bad_number"]);
    upstream("hedge: ^true", &["error wrong_type"]);
    upstream("hedge: { after: ^5s }", &["warning timeout_order"]);
    upstream("hedge: { after: ^1s }, timeouts: { attempt: 1s }", &["warning timeout_order"]);
    upstream("hedge: { after: 1s }, timeouts: { attempt: off }", &[]);
    let hedge = |keys: &str| up(&good(&with(keys))).hedge.clone();
    assert_eq!(hedge("pool: {}"), None);
    assert_eq!(hedge("hedge: off"), None);
    assert_eq!(hedge("hedge: {}"), Some(Hedge { after: HedgeAfter::P95, max_ratio: 0.05 }));
    let after = HedgeAfter::After(ms(50));
    assert_eq!(hedge("hedge: { after: 50ms, max_ratio: 1 }"), Some(Hedge { after, max_ratio: 1.0 }));
}

#[test]
fn breaker() {
    upstream("breaker: { failure_ratio: ^0 }", &["error out_of_range"]);
    upstream("breaker: { failure_ratio: ^1.01 }", &["error out_of_range"]);
    upstream("breaker: { slow_ratio: ^0.0 }", &["error out_of_range"]);
    upstream("breaker: { window: ^999ms }", &["error out_of_range"]);
    upstream("breaker: { requests_min: ^0, probes: ^0 }", &["error out_of_range", "error out_of_range"]);
    upstream("breaker: { scope: ^endpoint }", &["error unknown_word"]);
    upstream("breaker: { open: ^10s, open_max: 9s }", &["error limit_order"]);
    upstream("breaker: { slow_call: ^5s }", &["warning timeout_order"]);
    upstream("breaker: { slow_call: ^1s }, timeouts: { attempt: 500ms }", &["warning timeout_order"]);
    // The default is no mistake of anybody.
    upstream("timeouts: { attempt: 500ms }", &[]);
    upstream("breaker: { slow_call: off }, timeouts: { attempt: 500ms }", &[]);
    upstream("breaker: { slow_call: 1h }, timeouts: { attempt: off }", &[]);
    let breaker = |keys: &str| up(&good(&with(keys))).breaker.clone();
    assert_eq!(breaker("breaker: off"), None);
    let given =
        breaker("breaker: { open: 2m, slow_call: off, scope: operation, failure_ratio: 1 }").expect("on");
    assert_eq!((given.open, given.open_max, given.slow_call), (s(120), s(120), None));
    assert_eq!((given.scope, given.failure_ratio, given.probes), (BreakerScope::Operation, 1.0, 3));
    let short = breaker("breaker: { open_max: 1s }").expect("on");
    assert_eq!((short.open, short.open_max), (s(1), s(1)));
}

#[test]
fn eject() {
    upstream("eject: { share_max: ^1.5 }", &["error out_of_range"]);
    upstream("eject: { consecutive_failures: ^0 }", &["error out_of_range"]);
    upstream("eject: { time: ^60s, time_max: 59s }", &["error limit_order"]);
    let eject = |keys: &str| up(&good(&with(keys))).eject.clone();
    assert_eq!(eject("eject: off"), None);
    let given = eject("eject: { time: 10m, share_max: 0 }").expect("on");
    assert_eq!((given.time, given.time_max, given.share_max), (s(600), s(600), 0.0));
}

#[test]
fn health() {
    upstream("health: ^{}", &["error missing_key"]);
    upstream("health: ^{ tcp: false, interval: 2s }", &["error missing_key"]);
    upstream("health: { tcp: ^maybe }", &["error bad_boolean"]);
    upstream("health: { path: /healthz, tcp: ^true }", &["error conflicting_keys"]);
    upstream("protocol: h2, health: { path: /, grpc: ^'' }", &["error conflicting_keys"]);
    upstream("health: { path: ^healthz }", &["error bad_path"]);
    upstream("health: { path: ^'/a b' }", &["error bad_path"]);
    upstream("health: { path: ^'/a#b' }", &["error bad_path"]);
    upstream("health: { path: /, status: ^199 }", &["error out_of_range"]);
    upstream("health: { path: /, status: [200, ^404-200] }", &["error out_of_range"]);
    upstream("health: { path: /, status: ^2xx }", &["error bad_number"]);
    upstream("health: { path: /, status: ^[] }", &["error empty_list"]);
    upstream("health: { tcp: true, status: ^200 }", &["error unused_key"]);
    upstream("health: { path: /, interval: 1s, timeout: ^1s }", &["error timeout_order"]);
    upstream("health: { path: /, healthy_after: ^0 }", &["error out_of_range"]);
    upstream("health: { grpc: ^true }, protocol: h2", &["error bad_text"]);
    upstream("health: { grpc: ^'a b' }, protocol: h2", &["error bad_text"]);
    upstream("health: ^on", &["error wrong_type"]);
    let health = |keys: &str| up(&good(&with(keys))).health.clone();
    assert_eq!(health("pool: {}"), None);
    assert_eq!(health("health: off"), None);
    let given = health("health: { path: '/ready?deep=%31', status: [401, 200-299] }").expect("on");
    let expected =
        HealthProbe::Http { path: "/ready?deep=%31".to_owned(), statuses: vec![(200, 299), (401, 401)] };
    assert_eq!(given.probe, expected);
    assert_eq!((given.interval, given.timeout), (s(5), s(1)));
    assert_eq!((given.healthy_after, given.unhealthy_after), (2, 3));
    assert_eq!(health("health: { tcp: true }").expect("on").probe, HealthProbe::Tcp);
    // Defaults give way to what was written.
    let fast = health("health: { path: /, interval: 500ms }").expect("on");
    assert_eq!((fast.interval, fast.timeout), (ms(500), ms(250)));
    let slow = health("health: { path: /, timeout: 6s }").expect("on");
    assert_eq!((slow.interval, slow.timeout), (s(12), s(6)));
}

#[test]
fn health_of_grpc_needs_http2() {
    let text = |endpoints: &str, keys: &str| {
        format!("upstreams: {{ up: {{ endpoints: [{endpoints}], health: {{ grpc: ^'' }}, {keys} }} }}")
    };
    let refused = &["error grpc_needs_h2"];
    marked(&text("http://a", "pool: {}"), refused);
    marked(&text("https://a", "protocol: http1"), refused);
    marked(&text("https://a, http://b", "protocol: auto"), refused);
    for (endpoints, keys) in [("http://a", "protocol: h2"), ("https://a", "protocol: auto")] {
        check(&text(endpoints, keys).replace('^', ""), &[]);
    }
    let checked = good("upstreams: { up: { endpoints: http://a, protocol: h2, health: { grpc: a.v1.B } } }");
    let probe = up(&checked).health.as_ref().map(|health| health.probe.clone());
    assert_eq!(probe, Some(HealthProbe::Grpc { service: "a.v1.B".to_owned() }));
}

#[test]
fn concurrency() {
    upstream("concurrency: { limit: ^0 }", &["error out_of_range"]);
    upstream("concurrency: { limit: ^auto }", &["error bad_number"]);
    upstream("concurrency: { limit: ^9, max: 8 }", &["error limit_order"]);
    upstream("concurrency: { queue: ^-1 }", &["error bad_number"]);
    upstream("concurrency: { queue_wait: ^2m }", &["error out_of_range"]);
    let given = |keys: &str| up(&good(&with(keys))).concurrency.clone();
    assert_eq!(given("pool: {}"), None);
    assert_eq!(given("concurrency: off"), None);
    let expected =
        Concurrency { limit: ConcurrencyLimit::Adaptive, max: 512, queue: 256, queue_wait: ms(200) };
    assert_eq!(given("concurrency: {}"), Some(expected));
    let fixed = Concurrency { limit: ConcurrencyLimit::Fixed(1000), max: 1000, queue: 0, queue_wait: ms(0) };
    assert_eq!(given("concurrency: { limit: 1000, queue: 0, queue_wait: 0s }"), Some(fixed));
}

#[test]
fn balance() {
    upstream("balance: ^random", &["error unknown_word"]);
    upstream("balance: ^{}", &["error missing_key"]);
    upstream("balance: { hash: ^cookie }", &["error bad_balance"]);
    upstream("balance: { hash: ^'header:' }", &["error bad_header"]);
    upstream("balance: { hash: ^'header:a b' }", &["error bad_header"]);
    upstream("balance: { hash: ^'path:' }", &["error bad_balance"]);
    upstream("balance: { hash: ^'path:{id}' }", &["error bad_balance"]);
    upstream("balance: ^{ ^header: x-account }", &["error missing_key", "error unknown_key"]);
    upstream("balance: ^'hash: cookie'", &["error bad_balance"]);
    upstream("balance: ^{ hash: path:id }", &["warning unknown_parameter"]);
    for (keys, expected) in [
        ("balance: round_robin", Balance::RoundRobin),
        ("balance: { hash: header:X-Account }", Balance::HashHeader("x-account".to_owned())),
        ("balance: { hash: consumer }", Balance::HashConsumer),
        ("balance: 'hash: header:x-account'", Balance::HashHeader("x-account".to_owned())),
        ("pool: {}", Balance::LeastLoaded),
    ] {
        assert_eq!(up(&good(&with(keys))).balance, expected, "{keys}");
    }
}

/// Guards against: a hash of a parameter that is misspelt, which is a hash of nothing.
#[test]
fn a_parameter_that_is_hashed_is_in_some_path() {
    let text = |name: &str, path: &str| {
        format!(
            "{{ upstreams: {{ up: {{ endpoints: http://a, balance: ^{{ hash: path:{name} }} }} }}, apis: {{ a: {{ defaults: {{ auth: none }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{}}, 'GET {path}': {{}} }} }} }} }} }} }}"
        )
    };
    marked(&text("ids", "/y/{id}"), &["warning unknown_parameter"]);
    for (name, path) in [("id", "/y/{id}"), ("rest", "/y/{*rest}")] {
        check(&text(name, path).replace('^', ""), &[]);
    }
    let checked = good(&text("id", "/y/{id}").replace('^', ""));
    assert_eq!(up(&checked).balance, Balance::HashPath("id".to_owned()));
}

#[test]
fn rates_shares_and_times() {
    upstream("rate_max: ^500", &["error bad_rate"]);
    upstream("rate_max: ^0/s", &["error out_of_range"]);
    upstream("rate_max: ^0.5/s", &["error bad_rate"]);
    upstream("rate_max: ^5/d", &["error bad_rate"]);
    upstream("panic_below: ^30%", &["error bad_number"]);
    upstream("panic_below: ^2", &["error out_of_range"]);
    upstream("slow_start: ^2h", &["error out_of_range"]);
    let checked = good(&with("rate_max: 30/m, panic_below: 0, slow_start: off"));
    let given = up(&checked);
    assert_eq!((given.rate_max, given.panic_below, given.slow_start), (Some(0.5), 0.0, Duration::ZERO));
}

#[test]
fn fallbacks() {
    upstream("fallback: ^[]", &["error empty_list"]);
    upstream("fallback: ^dr", &["error unknown_word"]);
    upstream("fallback: [^[stale]]", &["error wrong_type"]);
    upstream("fallback: [^{}]", &["error missing_key"]);
    upstream("fallback: [^{ upstream: dr, respond: {} }]", &["error conflicting_keys"]);
    upstream("fallback: { upstream: ^nobody }", &["error unknown_upstream"]);
    upstream("fallback: { respond: { status: ^199 } }", &["error out_of_range"]);
    upstream("fallback: { respond: { status: ^600 } }", &["error out_of_range"]);
    upstream("fallback: { respond: { when: ^never } }", &["error unknown_word"]);
    upstream("fallback: { respond: { retry_after: ^0s } }", &["error out_of_range"]);
    upstream("fallback: { respond: { status: 204, body: ^{} } }", &["error respond_without_content"]);
    upstream("fallback: { respond: { body: ^5 } }", &["error wrong_type"]);
    upstream("fallback: { respond: { body: { a: ^'${NOBODY}' } } }", &["error env_missing"]);
    upstream("fallback: [^stale, { upstream: dr }]", &["warning fallback_stale_unavailable"]);
    for unreachable in [
        "{ respond: { when: always } }, ^{ upstream: dr }",
        "{ respond: { when: always } }, ^{ respond: {} }",
        "{ respond: {} }, ^{ respond: {} }",
        "{ upstream: dr }, ^{ upstream: dr }",
    ] {
        upstream(&format!("fallback: [{unreachable}]"), &["warning fallback_unreachable"]);
    }
    upstream("fallback: [{ respond: {} }, { upstream: dr }, { respond: { when: always } }]", &[]);
    let checked = good(&with(
        "fallback: [stale, { upstream: dr }, { respond: { when: always, status: 200, retry_after: 30s, body: { z: [1, 1.5, true, null, '2', x], a: '${SECRET}' } } }, { respond: {} }]",
    ));
    let body = r#"{"z":[1,1.5,true,null,"2","x"],"a":"s3cr3t-value"}"#.to_owned();
    let always = Respond { when_undelivered: false, status: 200, retry_after: Some(s(30)), body: Some(body) };
    let plain = Respond { when_undelivered: true, status: 503, retry_after: None, body: None };
    let expected = [
        Fallback::Stale,
        Fallback::Upstream("dr".to_owned()),
        Fallback::Respond(always),
        Fallback::Respond(plain),
    ];
    assert_eq!(up(&checked).fallback, expected);
    assert_eq!(up(&good(&with("fallback: off"))).fallback, []);
}

#[test]
fn a_body_is_any_json_of_some_size() {
    let body = |text: &str| {
        let checked = good(&with(&format!("fallback: {{ respond: {{ body: {text} }} }}")));
        match up(&checked).fallback.as_slice() {
            [Fallback::Respond(respond)] => respond.body.clone().expect("a body"),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(body("closed"), r#""closed""#);
    assert_eq!(body("[1, -2.5e3, 007]"), r#"[1,-2500.0,"007"]"#);
    assert_eq!(body("'{\"a\": 1}'"), r#""{\"a\": 1}""#);
    let large = "x".repeat((64 << 10) - 1);
    upstream(&format!("fallback: {{ respond: {{ body: ^{large} }} }}"), &["error out_of_range"]);
    assert_eq!(body(&large[1..]).len(), 64 << 10);
}

#[test]
fn falling_back_leads_nowhere_twice() {
    let upstreams = |list: &[(&str, &str)]| {
        let entry = |(name, to): &(&str, &str)| match *to {
            "" => format!("{name}: {{ endpoints: http://{name} }}"),
            to => format!("{name}: {{ endpoints: http://{name}, fallback: {{ upstream: {to} }} }}"),
        };
        let list: Vec<_> = list.iter().map(entry).collect();
        format!("upstreams: {{ {} }}", list.join(", "))
    };
    let cycle = &["error fallback_cycle"];
    marked(&upstreams(&[("up", "^up")]), cycle);
    marked(&upstreams(&[("up", "b"), ("b", "^up")]), cycle);
    marked(&upstreams(&[("up", "b"), ("b", "c"), ("c", "^b")]), cycle);
    marked(&upstreams(&[("b", "c"), ("c", "^b"), ("up", "b")]), cycle);
    check(&upstreams(&[("up", "c"), ("b", "c"), ("c", "d"), ("d", "")]), &[]);
    let problem = super::load_text(&upstreams(&[("up", "b"), ("b", "c"), ("c", "up")])).problems.remove(0);
    assert_eq!(problem.message, "falling back leads around in a circle: `up`, then `b`, then `c`, then `up`");
    assert_eq!(problem.key, "upstreams.c.fallback.upstream");
    // A default that is no default for the one it names.
    let text = "upstream_defaults: { fallback: { upstream: up } }\nupstreams: { up: { endpoints: http://a }, b: { endpoints: http://b } }";
    let problem = super::load_text(text).problems.remove(0);
    assert_eq!((problem.code, problem.line), ("fallback_cycle", 1));
    assert_eq!(problem.help.as_deref(), Some("give `up` a `fallback` of its own, such as `off`"));
    check(&text.replace("http://a", "http://a, fallback: off"), &[]);
}

#[test]
fn a_long_circle_is_told_in_short() {
    let name = |i: usize| format!("u{}", i % 60);
    let entry = |i: usize| {
        format!("{}: {{ endpoints: http://a, fallback: {{ upstream: {} }} }}", name(i), name(i + 1))
    };
    let list: Vec<_> = (0..60).map(entry).collect();
    let text = format!("upstreams: {{ up: {{ endpoints: http://a }}, {} }}", list.join(", "));
    let problems = super::load_text(&text).problems;
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["fallback_cycle"]);
    assert!(problems[0].message.len() < 200, "{}", problems[0].message);
}

#[test]
fn keys_are_shared_with_another_one() {
    let shares = |with: &str, expected: &[&str]| {
        upstream(&format!("shares_idempotency_with: {with}"), expected);
    };
    shares("^up", &["error shares_with_itself"]);
    shares("^down", &["error unknown_upstream"]);
    shares("^[]", &["error wrong_type"]);
    let checked = good(&with("shares_idempotency_with: dr"));
    assert_eq!(up(&checked).shares_idempotency_with.as_deref(), Some("dr"));
    check("upstream_defaults: { shares_idempotency_with: up }", &["error unknown_key 1:22"]);
}

#[test]
fn upstream_defaults_lie_under_key_by_key() {
    let checked = good(
        "upstream_defaults:
  balance: round_robin
  rate_max: 5/s
  retries: { attempts_max: 2, backoff: { base: 5ms }, on: connect }
  breaker: { probes: 9 }
  eject: off
  hedge: { max_ratio: 0.5 }
  health: { path: /healthz, status: 204, interval: 3s }
  concurrency: { limit: 7 }
  fallback: [{ upstream: dr }, { respond: {} }]
upstreams:
  up:
    endpoints: http://a
    retries: { backoff: { max: 7ms }, on: [503] }
    breaker: off
    eject: { time: 1s }
    health: { tcp: true }
    concurrency: { queue: 1 }
    fallback: { respond: { when: always } }
  dr: { endpoints: http://b, hedge: off, health: off, concurrency: off, fallback: off, rate_max: none }
",
    );
    let (up, dr) = (up(&checked), &checked.upstreams["dr"]);
    assert_eq!((&up.balance, up.rate_max), (&Balance::RoundRobin, Some(5.0)));
    let retries = up.retries.as_ref().expect("on");
    assert_eq!((retries.attempts_max, retries.backoff_base, retries.backoff_max), (2, ms(5), ms(7)));
    // Lists replace.
    assert_eq!(retries.on, RetryOn { unavailable: true, ..RetryOn::default() });
    assert!(up.breaker.is_none());
    let eject = up.eject.as_ref().expect("on");
    assert_eq!((eject.time, eject.consecutive_failures), (s(1), 5));
    assert_eq!(up.hedge.as_ref().map(|hedge| hedge.max_ratio), Some(0.5));
    // Another way of asking replaces that of the default; how often stays.
    let health = up.health.as_ref().expect("on");
    assert_eq!((&health.probe, health.interval), (&HealthProbe::Tcp, s(3)));
    let concurrency = up.concurrency.as_ref().expect("on");
    assert_eq!((concurrency.limit, concurrency.queue), (ConcurrencyLimit::Fixed(7), 1));
    assert!(matches!(up.fallback.as_slice(), [Fallback::Respond(respond)] if !respond.when_undelivered));
    assert!(dr.hedge.is_none() && dr.health.is_none() && dr.concurrency.is_none() && dr.fallback.is_empty());
    assert_eq!((dr.rate_max, dr.breaker.as_ref().map(|breaker| breaker.probes)), (None, Some(9)));
    assert!(dr.eject.is_none());
}

#[test]
fn priorities_and_memory() {
    let operation = |class: &str, keys: &str| {
        format!(
            "classes: {{ c: {{ {class} }} }}\napis: {{ a: {{ defaults: {{ auth: none, priority: high }}, versions: {{ v1: {{ upstream: up, operations: {{ GET /x: {{ class: c, {keys} }} }} }} }} }} }}\n"
        )
    };
    check(&operation("priority: urgent", ""), &["error unknown_word 1:27"]);
    let priority = |text: &str| good(text).apis["a"].versions["v1"].operations[0].priority;
    assert_eq!(priority(&operation("", "")), Some(Priority::High));
    assert_eq!(priority(&operation("priority: low", "")), Some(Priority::Low));
    assert_eq!(priority(&operation("priority: low", "priority: critical")), Some(Priority::Critical));
    assert_eq!(priority(""), None, "its caller's plan says");
    for (text, expected) in [
        ("auto", MemoryLimit::Auto),
        ("off", MemoryLimit::Off),
        ("2GiB", MemoryLimit::Bytes(2 << 30)),
        ("'${OFF}'", MemoryLimit::Off),
    ] {
        let checked = good(&format!("server: {{ limits: {{ memory: {text} }} }}"));
        assert_eq!(checked.server.limits.memory, expected, "{text}");
    }
}
