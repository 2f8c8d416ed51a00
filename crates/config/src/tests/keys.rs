//! Single keys: types, units, ranges, words, and the blocks outside of `apis`.

use std::time::Duration;

use super::{check, good};
use crate::checked::{EndpointAddress, HostHeader, LogFormat, LogOutput, Protocol};

#[test]
fn a_value_of_another_type_is_refused() {
    check("server: [1]", &["error wrong_type 1:9"]);
    check("server:", &["error wrong_type 1:7"]);
    check("server: { workers: [1, 2] }", &["error wrong_type 1:20"]);
    check("server: { workers: two }", &["error bad_number 1:20"]);
    check("server: { workers: '2' }", &["error bad_number 1:20"]);
    check("server: { workers: 0 }", &["error out_of_range 1:20"]);
    check("server: { workers: 99999999999999999999999 }", &["error out_of_range 1:20"]);
    check("server: { workers: -1 }", &["error bad_number 1:20"]);
    check("upstreams: [x]", &["error wrong_type 1:12", "error unknown_upstream 2:68"]);
    check("telemetry: { log: { sample_success: 1.5 } }", &["error out_of_range 1:37"]);
    check("telemetry: { log: { sample_success: nan } }", &["error bad_number 1:37"]);
    check("telemetry: { log: { sample_success: 1e-1 } }", &["error bad_number 1:37"]);
}

#[test]
fn units_are_required_and_ranges_hold() {
    let limit =
        |text: &str, expected: &str| check(&format!("server: {{ limits: {{ {text} }} }}"), &[expected]);
    limit("body: 5", "error bad_size 1:27");
    limit("body: 5KB", "error bad_size 1:27");
    limit("body: 2000GiB", "error out_of_range 1:27");
    limit("header_bytes: 1B", "error out_of_range 1:35");
    limit("headers: 5", "error out_of_range 1:30");
    limit("uri_bytes: 1MiB", "error out_of_range 1:32");
    limit("idle_timeout: 30", "error bad_duration 1:35");
    limit("idle_timeout: 30 s", "error bad_duration 1:35");
    limit("idle_timeout: 1.5s", "error bad_duration 1:35");
    limit("idle_timeout: 0s", "error out_of_range 1:35");
    limit("idle_timeout: off", "error bad_duration 1:35");
    limit("connection_age: 'off'", "error bad_duration 1:37");
    limit("connections: 10000001", "error out_of_range 1:34");
    limit("requests_in_flight: 0", "error out_of_range 1:41");
    limit("memory: 1GB", "error bad_size 1:29");
    limit("memory: 15MiB", "error out_of_range 1:29");
    limit("memory: 'off'", "error bad_size 1:29");
    limit("memory: 90%", "error bad_size 1:29");
    limit("connections: 10, connections_per_client: 11", "error limit_order 1:62");
    limit("header_bytes: 1KiB, uri_bytes: 2KiB", "warning limit_order 1:52");
    check("server: { limits: off }", &["error wrong_type 1:19"]);
    check(
        "server: { http2: { window: 1KiB, streams_max: 0 } }",
        &["error out_of_range 1:28", "error out_of_range 1:47"],
    );
    check(
        "server: { shutdown: { delay: 11m, drain: 2h } }",
        &["error out_of_range 1:30", "error out_of_range 1:42"],
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    check("servr: {}", &["error unknown_key 1:1"]);
    check("tls: {}", &["error unknown_key 1:1"]);
    check("quotas: {}\ncaches: []", &["error unknown_key 1:1", "error unknown_key 2:1"]);
    check("upstreams: { up: { endpoints: ['http://a:1'], mirror: {} } }", &["error unknown_key 1:47"]);
    check("classes: { c: { auth: none, cache: off } }", &["error unknown_key 1:29"]);
    check("classes: { c: { sunset: 2027-01-01 } }", &["error unknown_key 1:17"]);
    let outcome = super::load_text("server: { limits: { conections: 5 } }");
    let problem = &outcome.problems[0];
    assert_eq!(problem.key, "server.limits.conections");
    assert!(problem.help.as_deref().is_some_and(|help| help.starts_with("did you mean `connections`?")));
}

#[test]
fn addresses() {
    let listen = |text: &str, expected: &[&str]| check(&format!("server: {{ listen: {text} }}"), expected);
    listen("':8080'", &["error bad_address 1:19"]);
    listen("localhost:8080", &["error bad_address 1:19"]);
    listen("8080", &["error bad_address 1:19"]);
    listen("[127.0.0.1:8080, 127.0.0.1:8080]", &["error duplicate_listen 1:36"]);
    listen("[127.0.0.1:8080, 0.0.0.0:8080]", &["error duplicate_listen 1:36"]);
    listen("127.0.0.1:9090", &["error duplicate_listen 1:1"]);
    listen("[]", &["error empty_list 1:19"]);
    listen("[127.0.0.1:0, 127.0.0.1:0]", &["error duplicate_listen 1:33"]);
    listen("[127.0.0.1:0, '[::1]:0', '[::1]:8080', 127.0.0.1:8080]", &[]);
    check("control: { listen: 0.0.0.0:9090 }", &["error control_off_loopback 1:20"]);
    check("control: { listen: '[::]:9090' }", &["error control_off_loopback 1:20"]);
    check("control: { listen: '[::1]:9091' }", &[]);
    let proxies =
        |text: &str, expected: &[&str]| check(&format!("server: {{ trusted_proxies: {text} }}"), expected);
    proxies("example.com", &["error bad_network 1:28"]);
    proxies("10.0.0.1/8", &["error bad_network 1:28"]);
    proxies("10.0.0.0/33", &["error bad_network 1:28"]);
    proxies("10.0.0.0/+8", &["error bad_network 1:28"]);
    proxies("[10.0.0.0/8, '::1', 'fd00::/8', 0.0.0.0/0]", &[]);
    check("server: { health_path: healthz }", &["error bad_path 1:24"]);
    check("server: { health_path: /a/../b }", &["error bad_path 1:24"]);
    check("server: { health_path: /v1/x }", &["warning health_path_taken 4:86"]);
    check("portal: { public_url: ftp://x }", &["error bad_url 1:23"]);
    check("portal: { public_url: 'https://u:p@x' }", &["error bad_url 1:23"]);
    check("portal: { public_url: 'https://x/a?b' }", &["error bad_url 1:23"]);
}

#[test]
fn upstreams() {
    let endpoint = |text: &str, expected: &[&str]| {
        check(&format!("upstreams: {{ up: {{ endpoints: [{text}] }} }}"), expected);
    };
    endpoint("", &["error empty_list 1:31"]);
    endpoint("127.0.0.1:9001", &["error bad_endpoint 1:32"]);
    endpoint("http://a/path", &["error bad_endpoint 1:32"]);
    endpoint("http://u:p@a", &["error bad_endpoint 1:32"]);
    endpoint("'http://a:0'", &["error bad_endpoint 1:32"]);
    endpoint("'http://a:99999'", &["error bad_endpoint 1:32"]);
    endpoint("'http://:80'", &["error bad_endpoint 1:32"]);
    endpoint("'http://[::1'", &["error bad_endpoint 1:32"]);
    endpoint("'dns:a'", &["error bad_endpoint 1:32"]);
    endpoint("{ weight: 2 }", &["error missing_key 1:32"]);
    endpoint("{ url: 'http://a', weight: 0 }", &["error out_of_range 1:59"]);
    endpoint("http://a, http://A:80/", &["error duplicate_endpoint 1:42"]);
    endpoint("http://a, 'http://[::1]:9', 'dns:a:81', { url: 'http://b', weight: 3 }", &[]);
    let upstream = |text: &str, expected: &[&str]| {
        check(&format!("upstreams: {{ up: {{ endpoints: http://a, {text} }} }}"), expected);
    };
    upstream("protocol: h3", &["error unknown_word 1:51"]);
    upstream("host: 'a b'", &["error bad_host 1:47"]);
    upstream("pool: { idle_max: 9, connections_max: 8 }", &["warning limit_order 1:59"]);
    upstream("pool: { wait: 2m }", &["error out_of_range 1:55"]);
    upstream("timeouts: { connect: off }", &["error bad_duration 1:62"]);
    upstream("timeouts: { attempt: 9s, total: 8s }", &["warning timeout_order 1:62"]);
    upstream("timeouts: { connect: 9s, attempt: 8s }", &["warning timeout_order 1:62"]);
    upstream("timeouts: { total: 3s }", &[]);
    check("upstreams: { up: {} }", &["error missing_key 1:14"]);
    check(
        "upstreams: { 'a b': { endpoints: http://a }, up: { endpoints: http://a } }",
        &["error bad_name 1:14"],
    );
}

#[test]
fn telemetry() {
    let log = |text: &str, expected: &[&str]| check(&format!("telemetry: {{ log: {{ {text} }} }}"), expected);
    log("format: jsn", &["error unknown_word 1:29"]);
    log("redact: [client, cleint]", &["error unknown_word 1:38"]);
    log("output: stderr", &["error bad_text 1:29"]);
    log("output: ''", &["error bad_text 1:29"]);
}

#[test]
fn every_default_is_what_the_example_shows() {
    let written = good(
        "server:
  listen: 0.0.0.0:8080
  workers: auto
  http2: { streams_max: 100, window: 1MiB }
  limits: { connections: 20000, connections_per_client: 1000, connection_age: off, header_bytes: 32KiB, headers: 100,
            uri_bytes: 8KiB, body: 1MiB, header_timeout: 10s, body_timeout: 30s, idle_timeout: 75s, requests_in_flight: 10000, memory: auto }
  trusted_proxies: []
  health_path: off
  shutdown: { delay: 0s, drain: 30s }
  node: { name: auto, region: none }
control: { listen: 127.0.0.1:9090, token_file: mainstay.token }
upstream_defaults: { timeouts: { connect: 1s, attempt: 5s, total: 10s, idle: 60s, settle: 30s } }
upstreams:
  up:
    endpoints: [{ url: http://127.0.0.1:9001, weight: 1 }]
    protocol: auto
    host: endpoint
    pool: { connections_max: 256, idle_max: 64, idle_timeout: 60s, lifetime_max: 1h, wait: 200ms }
    balance: least_loaded
    slow_start: 10s
    panic_below: 0.3
    rate_max: none
    retries:
      attempts_max: 3
      on: [connect, reset, 502, 503, 504]
      backoff: { base: 25ms, max: 1s }
      budget: { ratio: 0.2, floor: 1/s }
      replay_body: 64KiB
      honours_idempotency_key: false
    hedge: off
    breaker: { window: 10s, requests_min: 20, failure_ratio: 0.5, slow_call: 2s, slow_ratio: 0.8, open: 5s, open_max: 60s, probes: 3, scope: upstream }
    eject: { consecutive_failures: 5, time: 30s, time_max: 300s, share_max: 0.5 }
    health: off
    concurrency: off
    fallback: off
classes: { unused: { priority: normal } }
telemetry: { log: { format: json, output: stdout, sample_success: 1.0, redact: [] } }
",
    );
    let implied = good("");
    let strip = |mut checked: crate::checked::Checked| {
        checked.digest.clear();
        format!("{checked:#?}")
    };
    assert_eq!(strip(written), strip(implied));
}

#[test]
fn values_arrive() {
    let checked = good(
        "server: { workers: 3, health_path: /healthz, node: { name: n1, region: eu }, limits: { connections: 50, header_bytes: 4KiB } }
portal: { public_url: https://portal.example.com/ }
upstream_defaults: { protocol: h2, host: preserve, pool: { idle_max: 5 }, timeouts: { connect: 2s, total: off } }
upstreams:
  up: { endpoints: [http://Svc.Internal, 'http://[::1]:9', 'dns:svc:81'], host: api.internal, pool: { connections_max: 3 }, timeouts: { total: 7s } }
  other: { endpoints: http://b:1, pool: off, timeouts: off }
telemetry: { log: { format: text, output: logs/access.log, sample_success: 0.25, redact: client } }
",
    );
    let server = &checked.server;
    assert_eq!((server.workers, server.health_path.as_deref()), (Some(3), Some("/healthz")));
    assert_eq!((server.node_name.as_str(), server.node_region.as_deref()), ("n1", Some("eu")));
    // Defaults give way to what was written.
    assert_eq!((server.limits.connections_per_client, server.limits.uri_bytes), (50, 4096));
    assert_eq!(checked.public_url.as_deref(), Some("https://portal.example.com"));
    let up = &checked.upstreams["up"];
    assert_eq!((up.protocol, &up.host), (Protocol::H2, &HostHeader::Name("api.internal".into())));
    assert_eq!((up.pool.connections_max, up.pool.idle_max), (3, 3));
    assert_eq!(
        (up.timeouts.connect, up.timeouts.total),
        (Duration::from_secs(2), Some(Duration::from_secs(7)))
    );
    let shown: Vec<_> = up.endpoints.iter().map(|e| (e.display.as_str(), e.address.clone())).collect();
    let tcp =
        |host: &str, port, all_addresses| EndpointAddress::Tcp { host: host.into(), port, all_addresses };
    let expected = [
        ("svc.internal:80", tcp("svc.internal", 80, false)),
        ("[::1]:9", tcp("::1", 9, false)),
        ("dns:svc:81", tcp("svc", 81, true)),
    ];
    assert_eq!(shown, expected);
    let other = &checked.upstreams["other"];
    assert_eq!((other.pool.idle_max, other.timeouts.attempt, other.timeouts.idle), (0, None, None));
    assert_eq!(
        (checked.log.format, &checked.log.output),
        (LogFormat::Text, &LogOutput::File("logs/access.log".into()))
    );
    assert_eq!(checked.log.redact, ["client"]);
}
