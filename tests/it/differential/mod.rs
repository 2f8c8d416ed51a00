//! The engine beside nginx and HAProxy on the same bytes.
//!
//! Each row of the tables ([`framing`], [`heads`]) says what is owed for its bytes, written from the RFCs before
//! anything was run. The engine owes exactly that. Where another server does something else, the row says what and why,
//! so that a change of any of the three is seen. `docs/differential.md` is made of the same tables.

mod downgrade;
mod framing;
mod heads;
pub(crate) mod recorder;
mod rows;
mod systems;
mod why;

use std::fmt::Write as _;

use recorder::{READINGS, STRICT, requests};
use rows::{Differs, Row};
use systems::{Outcome, System, loosely};

use crate::setup::blocking;

fn tables() -> [(&'static str, &'static [Row]); 9] {
    [
        ("Length", framing::LENGTHS),
        ("Transfer codings", framing::CODINGS),
        ("Chunks and trailers", framing::CHUNKS),
        ("One request after another", framing::PIPELINES),
        ("Upgrades and tunnels", framing::TUNNELS),
        ("Request line", heads::LINES),
        ("Target", heads::TARGETS),
        ("Host", heads::HOSTS),
        ("Fields", heads::FIELDS),
    ]
}

fn rows() -> impl Iterator<Item = &'static Row> {
    tables().into_iter().flat_map(|(_, rows)| rows)
}

/// What comes of each row.
fn outcomes(system: &System) -> Vec<Outcome> {
    rows().map(|row| system.outcome(&row.sent())).collect()
}

/// A line for each row of which something else came than `owed` says, in the words of `read`.
fn otherwise(
    outcomes: &[Outcome],
    owed: impl Fn(&'static Row) -> &'static str,
    read: impl Fn(&str) -> String,
) -> Vec<String> {
    let rows = rows().zip(outcomes);
    let wrong = rows.filter(|(row, outcome)| read(&outcome.text) != read(owed(row)));
    let line = |(row, outcome): (&'static Row, &Outcome)| {
        format!("{}: owed {:?}, came {:?}", row.name, owed(row), outcome.text)
    };
    wrong.map(line).collect()
}

#[track_caller]
fn none(wrong: &[String], who: &str) {
    assert!(wrong.is_empty(), "{} rows of {who} came out otherwise:\n{}", wrong.len(), wrong.join("\n"));
}

fn owed_of(differs: Option<Differs>, owed: &'static str) -> &'static str {
    differs.map_or(owed, |differs| differs.outcome)
}

#[tokio::test]
async fn the_engine_does_what_is_owed() {
    let (setup, system) = systems::engine().await;
    let outcomes = blocking(move || outcomes(&system)).await;
    none(&otherwise(&outcomes, |row| row.owed, str::to_owned), "the engine");
    // Whoever stands behind the engine and reads otherwise still finds the same requests.
    for (row, outcome) in rows().zip(&outcomes) {
        for bytes in &outcome.upstream {
            let [first, others @ ..] = READINGS.map(|reading| requests(bytes, reading));
            for other in others {
                assert_eq!(first, other, "{}: {}", row.name, bytes.escape_ascii());
            }
        }
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn nginx_does_what_is_owed_but_for_what_the_rows_say() {
    let outcomes = blocking(|| outcomes(&systems::nginx().system)).await;
    let wrong = otherwise(&outcomes, |row| owed_of(row.nginx, row.owed), loosely);
    none(&wrong, &systems::version("nginx"));
}

#[tokio::test]
async fn haproxy_does_what_is_owed_but_for_what_the_rows_say() {
    let outcomes = blocking(|| outcomes(&systems::haproxy().system)).await;
    let wrong = otherwise(&outcomes, |row| owed_of(row.haproxy, row.owed), loosely);
    none(&wrong, &systems::version("haproxy"));
}

#[tokio::test]
async fn what_the_engine_forwards_is_the_same_requests_for_a_server_behind_it() {
    let (setup, system) = systems::engine().await;
    let forwarded = blocking(move || outcomes(&system)).await;
    let messages: Vec<(&str, Vec<u8>)> = rows()
        .zip(forwarded)
        .flat_map(|(row, outcome)| outcome.upstream.into_iter().map(|bytes| (row.name, bytes)))
        .filter(|(_, bytes)| requests(bytes, STRICT).iter().all(|request| request.is_whole))
        .collect();
    assert!(messages.len() > 50, "only {} messages were forwarded", messages.len());
    for peer in [systems::nginx(), systems::haproxy()] {
        for (name, bytes) in &messages {
            let outcome = peer.system.outcome(bytes);
            let sent = requests(bytes, STRICT);
            let seen: Vec<_> = outcome.upstream.iter().flat_map(|bytes| requests(bytes, STRICT)).collect();
            // The last one is what the test sends after every row.
            let same = seen.len() == sent.len() + 1
                && sent
                    .iter()
                    .zip(&seen)
                    .all(|(sent, seen)| (&sent.line, &sent.body) == (&seen.line, &seen.body));
            assert!(same, "{name}: {} became {seen:?}, {}", bytes.escape_ascii(), outcome.text);
        }
    }
    setup.engine.stop().await;
}

#[tokio::test]
async fn of_a_hundred_requests_at_once_those_before_the_invalid_one_are_answered() {
    let valid = "GET /v1/a HTTP/1.1\r\nHost: a\r\n\r\n";
    let invalid = "GET /v1/a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let bytes = format!("{}{invalid}{}", valid.repeat(49), valid.repeat(50)).into_bytes();
    let seen = ["GET /v1/a a none"; 49].join(" + ");
    let owed = format!("{seen} -> {}400 closed", "200 ".repeat(49));
    let (setup, system) = systems::engine().await;
    blocking(move || {
        let (nginx, haproxy) = (systems::nginx(), systems::haproxy());
        for (who, system) in [("engine", &system), ("nginx", &nginx.system), ("haproxy", &haproxy.system)] {
            assert_eq!(system.outcome(&bytes).text, owed, "{who}");
        }
    })
    .await;
    setup.engine.stop().await;
}

const BEGIN: &str = "<!-- From here on made of the tables in tests/it/differential. -->\n";

/// The part of the document that is made of the tables.
fn document() -> String {
    let mut text = format!("{BEGIN}\n## Rows\n\n| table | rows |\n|---|---|\n");
    for (name, rows) in tables() {
        let _ = writeln!(text, "| {name} | {} |", rows.len());
    }
    let _ = write!(text, "| together | {} |\n\n## Stricter than the RFCs\n\n", rows().count());
    text.push_str("| bytes | section | owed | why |\n|---|---|---|---|\n");
    for (row, why) in rows().filter_map(|row| row.stricter.map(|why| (row, why))) {
        let _ = writeln!(text, "| {} | {} | {} | {why} |", row.name, row.section, code(row.owed));
    }
    text.push_str("\n## Where the others differ\n\n");
    text.push_str("| bytes | section | owed | who | comes instead | why |\n|---|---|---|---|---|---|\n");
    for row in rows() {
        for (who, differs) in [("nginx", row.nginx), ("HAProxy", row.haproxy)] {
            let Some(Differs { outcome, why }) = differs else { continue };
            let (name, section, owed, instead) = (row.name, row.section, code(row.owed), code(outcome));
            let _ = writeln!(text, "| {name} | {section} | {owed} | {who} | {instead} | {why} |");
        }
    }
    text
}

/// As code in a cell of a table.
fn code(text: &str) -> String {
    let text = text.replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

#[test]
fn the_document_is_made_of_the_tables() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/differential.md");
    let there = std::fs::read_to_string(path).unwrap();
    let by_hand = there.split(BEGIN).next().unwrap();
    let expected = format!("{by_hand}{}", document());
    if std::env::var_os("WRITE_DIFFERENTIAL").is_some() {
        return std::fs::write(path, &expected).unwrap();
    }
    let how = "WRITE_DIFFERENTIAL=1 cargo nextest run -p mainstay-tests the_document_is_made";
    assert!(there == expected, "docs/differential.md is not made of these tables; {how}");
}
