//! `mainstay client`.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Map, Value};

use super::ask::{show, text, usage};
use super::catalogue::{answered, cell, change, fields, list, table};
use super::key::Mode;
use super::{Common, complain};

/// What to do about OAuth clients.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a client. Its secret is printed once, and nothing shows it again.
    Create {
        /// For people; the consent page shows it.
        #[arg(long)]
        name: String,
        /// Whether it can keep a secret: it can on a server, and cannot in a browser or on a telephone.
        #[arg(long, value_enum)]
        r#type: Type,
        /// Live, or test: its tokens reach a version's sandbox alone.
        #[arg(long, value_enum, default_value_t = Mode::Live)]
        mode: Mode,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// List clients, without their secrets.
    List {
        /// Only those that act for this consumer.
        #[arg(long, value_name = "ID")]
        consumer: Option<String>,
    },
    /// Show one client, without its secret.
    Show {
        /// Which one.
        client_id: String,
    },
    /// Change a client; what is not named stays.
    Update {
        /// Which one.
        client_id: String,
        /// For people; the consent page shows it.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        wanted: Wanted,
        /// Give it no tokens, and accept none that it has.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Give it tokens again.
        #[arg(long)]
        enable: bool,
    },
    /// Give a client another secret; the old one is accepted no more.
    Rotate {
        /// Which one.
        client_id: String,
    },
    /// Delete a client with its codes and refresh tokens.
    Delete {
        /// Which one.
        client_id: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Type {
    Confidential,
    Public,
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Confidential => "confidential",
            Self::Public => "public",
        }
    }
}

/// What may be said about a client. A list takes the place of the one before.
#[derive(Args, Debug)]
pub(super) struct Wanted {
    /// On whose behalf it acts.
    #[arg(long, value_name = "ID")]
    consumer: Option<String>,
    /// Where codes may be sent, compared exactly; once for each.
    #[arg(long, value_name = "URI")]
    redirect_uri: Vec<String>,
    /// What it may ask for; once for each scope.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// client_credentials, authorization_code, refresh_token; once for each.
    #[arg(long, value_name = "GRANT")]
    grant: Vec<String>,
    /// A file with its public keys (a JWK set): it signs instead of having a secret.
    #[arg(long, value_name = "FILE")]
    jwks: Option<std::path::PathBuf>,
}

impl Wanted {
    fn body(self) -> Result<Map<String, Value>, String> {
        let mut body = Map::new();
        if let Some(consumer) = self.consumer {
            body.insert("consumer".to_owned(), consumer.into());
        }
        for (name, list) in
            [("redirect_uris", self.redirect_uri), ("scopes", self.scope), ("grants", self.grant)]
        {
            if !list.is_empty() {
                body.insert(name.to_owned(), list.into());
            }
        }
        if let Some(path) = self.jwks {
            let shown = path.display();
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{shown}: {error}"))?;
            let jwks: Value = serde_json::from_str(&text).map_err(|error| format!("{shown}: {error}"))?;
            body.insert("jwks".to_owned(), jwks);
        }
        Ok(body)
    }
}

/// Said beside a secret, where a pipe does not carry it along.
const ONCE: &str = "mainstay: this is the only time that the secret is shown; only its hash is kept. Hand it to its \
                    owner over a safe channel.\n";

fn one(client_id: &str) -> String {
    format!("/admin/v1/clients/{}", path_segment(client_id))
}

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    match command {
        Command::Create { name, r#type, mode, wanted } => {
            let mut body = match wanted.body() {
                Ok(body) => body,
                Err(why) => return usage(&why),
            };
            body.insert("name".to_owned(), name.into());
            body.insert("type".to_owned(), r#type.name().into());
            body.insert("mode".to_owned(), mode.name().into());
            made(common, (Method::POST, "/admin/v1/clients"), Some(&body.into()))
        }
        Command::List { consumer } => {
            let filters: Vec<_> = consumer.as_deref().map(|id| ("consumer", id)).into_iter().collect();
            list(common, "/admin/v1/clients", &filters, usize::MAX, rows)
        }
        Command::Show { client_id } => change(common, (Method::GET, &one(&client_id)), None, shown),
        Command::Update { client_id, name, wanted, disable, enable } => {
            let mut body = match wanted.body() {
                Ok(body) => body,
                Err(why) => return usage(&why),
            };
            if let Some(name) = name {
                body.insert("name".to_owned(), name.into());
            }
            if disable || enable {
                body.insert("disabled".to_owned(), disable.into());
            }
            if body.is_empty() {
                return usage(&"say what to change; --help lists what there is");
            }
            change(common, (Method::PATCH, &one(&client_id)), Some(&body.into()), shown)
        }
        Command::Rotate { client_id } => {
            made(common, (Method::POST, &format!("{}/rotate", one(&client_id))), None)
        }
        Command::Delete { client_id } => change(common, (Method::DELETE, &one(&client_id)), None, |_| {
            format!("{client_id} is deleted, with its codes and refresh tokens\n")
        }),
    }
}

fn made(common: &Common, call: (Method, &str), body: Option<&Value>) -> u8 {
    match answered(common, call, body) {
        Ok(value) => {
            if value["client_secret"].is_string() {
                complain(ONCE);
            }
            show(common, &value, |client| fields(client, &["client_id", "client_secret", "name", "grants"]));
            0
        }
        Err(code) => code,
    }
}

fn shown(client: &Value) -> String {
    let names = [
        "client_id",
        "name",
        "type",
        "consumer",
        "redirect_uris",
        "scopes",
        "grants",
        "mode",
        "disabled",
        "created_at",
    ];
    fields(client, &names)
}

fn rows(clients: &[Value]) -> String {
    let row = |client: &Value| {
        let state = if client["disabled"] == true { "disabled" } else { "active" };
        vec![
            text(&client["client_id"]),
            cell(&client["name"]),
            text(&client["type"]),
            cell(&client["consumer"]),
            cell(&client["grants"]),
            state.to_owned(),
        ]
    };
    table(&["ID", "NAME", "TYPE", "CONSUMER", "GRANTS", "STATE"], clients.iter().map(row))
}
