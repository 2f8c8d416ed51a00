//! The text of the demo's configuration.

use std::net::SocketAddr;

use mainstay_core::units::show_date;

const DAY_S: i64 = 86_400;

/// Where everything is.
pub(super) struct Addresses {
    pub(super) engine: SocketAddr,
    pub(super) control: SocketAddr,
    pub(super) services: Vec<SocketAddr>,
}

/// Two versions, of which the first is announced to end.
pub(super) fn plain(addresses: &Addresses, now_s: i64) -> String {
    let Addresses { engine, control, services } = addresses;
    let endpoints: Vec<_> = services.iter().map(|service| format!("http://{service}")).collect();
    let date = |days: i64| show_date((now_s / DAY_S + days) * DAY_S);
    format!(
        "# The demo's configuration. Change it, then send SIGHUP.\n\
         server: {{ listen: {engine}, health_path: /healthz }}\n\
         control: {{ listen: {control}, token_file: mainstay.token }}\n\
         upstreams:\n  payments: {{ endpoints: [{}] }}\n\
         apis:\n  payments:\n    owner: team-payments\n    defaults: {{ auth: none }}\n    versions:\n      \
         v1:\n        openapi: payments-v1.yaml\n        upstream: payments\n        lifecycle: {{ deprecated: {}, sunset: {}, successor: v2 }}\n      \
         v2:\n        openapi: payments-v2.yaml\n        upstream: payments\n    \
         operations:\n      paymentEvents: {{ timeouts: {{ total: off, idle: 5m }} }}\n",
        endpoints.join(", "),
        date(-30),
        date(150),
    )
}

/// A text with the addresses in place of the words for them.
pub(super) fn filled(text: &str, addresses: &Addresses) -> String {
    let words = ["PAYMENTS_A", "PAYMENTS_B", "PAYMENTS_C", "STANDBY"];
    let services = words.into_iter().zip(&addresses.services);
    let all = services.chain([("ENGINE", &addresses.engine), ("CONTROL", &addresses.control)]);
    all.fold(text.to_owned(), |text, (word, address)| text.replace(word, &address.to_string()))
}
