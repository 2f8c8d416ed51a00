//! `mainstay audit`.

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::ask::{show, text};
use super::catalogue::{answered, cell, list, table};
use super::{Common, NO};

/// What to do about the audit.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what was changed, by whom, newest first.
    List {
        /// Changes of this kind of record alone, such as consumer or key.
        #[arg(long)]
        kind: Option<String>,
        /// Changes of the record with this id alone.
        #[arg(long)]
        id: Option<String>,
        /// The most that is shown.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Follow the chain of hashes: whether the audit is what was written.
    Verify,
}

/// Runs it.
pub(super) fn run(common: &Common, command: &Command) -> u8 {
    match command {
        Command::List { kind, id, limit } => {
            let filters = [("kind", kind), ("id", id)];
            let filters: Vec<_> =
                filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
            list(common, "/admin/v1/audit", &filters, *limit, rows)
        }
        Command::Verify => verify(common),
    }
}

fn verify(common: &Common) -> u8 {
    match answered(common, (Method::GET, "/admin/v1/audit/verify"), None) {
        Ok(verdict) => {
            let ok = verdict["ok"] == true;
            show(common, &verdict, |verdict| match ok {
                true => format!("ok: {} records, head {}\n", verdict["records"], text(&verdict["head"])),
                false => format!("broken at record {}: {}\n", verdict["number"], text(&verdict["why"])),
            });
            if ok { 0 } else { NO }
        }
        Err(code) => code,
    }
}

fn rows(records: &[Value]) -> String {
    let row = |record: &Value| {
        vec![
            record["number"].to_string(),
            text(&record["at"]),
            text(&record["actor"]["id"]),
            cell(&record["actor"]["address"]),
            text(&record["action"]),
            text(&record["id"]),
        ]
    };
    table(&["NUMBER", "AT", "BY", "FROM", "ACTION", "ID"], records.iter().map(row))
}
