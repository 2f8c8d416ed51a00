//! `mainstay token`.

use clap::{Subcommand, ValueEnum};
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Value, json};

use super::ask::{show, text};
use super::catalogue::{answered, cell, change, fields, list, table};
use super::{Common, complain};

/// What to do about tokens of the admin API.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token. It is printed once, and nothing shows it again.
    Create {
        /// For people: who or what holds it.
        name: String,
        /// What it may do.
        #[arg(long, value_enum)]
        role: Role,
        /// An api that it is limited to; once for each. Without one: all.
        #[arg(long, value_name = "API")]
        api: Vec<String>,
        /// For how long it is accepted, such as 90d; without it, until it is revoked.
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// List tokens, without the tokens themselves.
    List,
    /// Accept a token no longer, from now on and for ever.
    Revoke {
        /// Which one.
        id: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Role {
    /// Sees.
    Viewer,
    /// Also changes what comes and goes in daily work.
    Operator,
    /// May do everything.
    Owner,
}

/// Said beside a token, where a pipe does not carry it along.
const ONCE: &str = "mainstay: this is the only time that the token is shown; only its hash is kept. Put it into a file \
                    that its owner alone can read, for --token-file.\n";

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    match command {
        Command::Create { name, role, api, expires_in } => {
            let role = match role {
                Role::Viewer => "viewer",
                Role::Operator => "operator",
                Role::Owner => "owner",
            };
            let mut body = json!({ "name": name, "role": role, "apis": api });
            if let Some(expires_in) = expires_in {
                body["expires_in"] = expires_in.into();
            }
            create(common, &body)
        }
        Command::List => list(common, "/admin/v1/tokens", &[], usize::MAX, rows),
        Command::Revoke { id } => {
            let path = format!("/admin/v1/tokens/{}", path_segment(&id));
            change(common, (Method::DELETE, &path), None, |token| {
                format!("{} is revoked\n", text(&token["id"]))
            })
        }
    }
}

fn create(common: &Common, body: &Value) -> u8 {
    match answered(common, (Method::POST, "/admin/v1/tokens"), Some(body)) {
        Ok(made) => {
            let told = json!({
                "id": made["id"], "token": made["token"], "role": made["role"], "expires_at": made["expires_at"],
            });
            show(common, &told, |told| fields(told, &["id", "token", "role", "expires_at"]));
            complain(ONCE);
            0
        }
        Err(code) => code,
    }
}

fn rows(tokens: &[Value]) -> String {
    let row = |token: &Value| {
        let columns = ["id", "name", "role", "apis", "state", "expires_at"];
        columns.iter().map(|name| cell(&token[*name])).collect()
    };
    table(&["ID", "NAME", "ROLE", "APIS", "STATE", "EXPIRES"], tokens.iter().map(row))
}
