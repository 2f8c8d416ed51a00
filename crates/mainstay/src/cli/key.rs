//! `mainstay key`.

use clap::{Subcommand, ValueEnum};
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Map, Value, json};

use super::ask::{show, text};
use super::catalogue::{Limits, answered, cell, change, fields, list, table};
use super::{Common, complain};

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a key. It is printed once, and nothing shows it again.
    Create {
        /// Whose it is.
        #[arg(long, value_name = "ID")]
        consumer: String,
        /// Live, or test: for a version's sandbox alone.
        #[arg(long, value_enum, default_value_t = Mode::Live)]
        mode: Mode,
        #[command(flatten)]
        limits: Limits,
    },
    /// List the keys of a consumer, without the keys themselves.
    List {
        /// Whose.
        #[arg(long, value_name = "ID")]
        consumer: String,
    },
    /// Make a key that takes the place of this one, which is accepted for a while still.
    Rotate {
        /// Which one.
        key_id: String,
        /// For how long the old one is accepted still; 0s: no longer.
        #[arg(long, value_name = "DURATION", default_value = "10m")]
        overlap: String,
    },
    /// Accept a key no longer, from now on and for ever.
    Revoke {
        /// Which one.
        key_id: String,
    },
    /// Accept a key that was issued elsewhere, by its hash.
    Import {
        /// Whose it is.
        #[arg(long, value_name = "ID")]
        consumer: String,
        /// The SHA-256 of the whole key, in hex.
        #[arg(long, value_name = "HEX")]
        sha256: String,
        /// Live, or test: for a version's sandbox alone.
        #[arg(long, value_enum, default_value_t = Mode::Live)]
        mode: Mode,
        #[command(flatten)]
        limits: Limits,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    Live,
    Test,
}

impl Mode {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// Said beside a key, where a pipe does not carry it along.
const ONCE: &str = "mainstay: this is the only time that the key is shown; only its hash is kept. Hand it to its owner \
                    over a safe channel.\n";

fn keys_of(consumer: &str) -> String {
    format!("/admin/v1/consumers/{}/keys", path_segment(consumer))
}

fn one(key_id: &str) -> String {
    format!("/admin/v1/keys/{}", path_segment(key_id))
}

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    match command {
        Command::Create { consumer, mode, limits } => {
            let mut body = limits.body();
            body.insert("mode".to_owned(), mode.name().into());
            made(common, &keys_of(&consumer), body, &["id", "key", "mode", "expires_at"])
        }
        Command::List { consumer } => list(common, &keys_of(&consumer), &[], usize::MAX, rows),
        Command::Rotate { key_id, overlap } => {
            let mut body = Map::new();
            body.insert("overlap".to_owned(), overlap.into());
            made(common, &format!("{}/rotate", one(&key_id)), body, &["id", "key"])
        }
        Command::Revoke { key_id } => change(common, (Method::DELETE, &one(&key_id)), None, |key| {
            format!("{} is revoked\n", text(&key["id"]))
        }),
        Command::Import { consumer, sha256, mode, limits } => {
            let mut body = limits.body();
            body.insert("mode".to_owned(), mode.name().into());
            body.insert("sha256".to_owned(), sha256.into());
            let names = ["id", "consumer", "mode", "scopes", "addresses", "apis", "expires_at"];
            let call = (Method::POST, keys_of(&consumer));
            change(common, (call.0, &call.1), Some(&body.into()), |key| fields(key, &names))
        }
    }
}

/// Makes a key and prints these fields of it.
fn made(common: &Common, path: &str, body: Map<String, Value>, names: &[&str]) -> u8 {
    match answered(common, (Method::POST, path), Some(&body.into())) {
        Ok(key) => {
            let mut told = Map::new();
            for name in names {
                told.insert((*name).to_owned(), key[*name].clone());
            }
            show(common, &json!(told), |told| fields(told, names));
            complain(ONCE);
            0
        }
        Err(code) => code,
    }
}

fn rows(keys: &[Value]) -> String {
    let row = |key: &Value| {
        let columns = ["id", "mode", "state", "scopes", "apis", "addresses", "expires_at", "last_used_at"];
        columns.iter().map(|name| cell(&key[*name])).collect()
    };
    table(
        &["ID", "MODE", "STATE", "SCOPES", "APIS", "ADDRESSES", "EXPIRES", "LAST USED"],
        keys.iter().map(row),
    )
}
