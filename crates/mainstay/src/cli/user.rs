//! `mainstay user`.

use std::io::Read as _;

use clap::{Args, Subcommand};
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Map, Value};

use super::Common;
use super::ask::{text, usage};
use super::catalogue::{cell, change, fields, list, table};
use super::consumer::attribute;

/// More is no password, and not read.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// What to do about users.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a user. The password comes from standard input: arguments can be seen by everyone on the machine.
    Create {
        /// What they log in with; never changes.
        name: String,
        /// Read the password from standard input.
        #[arg(long, required = true)]
        password_stdin: bool,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// List all users.
    List,
    /// Show one user.
    Show {
        /// Which one.
        name: String,
    },
    /// Change a user; what is not named stays.
    Update {
        /// Which one.
        name: String,
        #[command(flatten)]
        wanted: Wanted,
        /// Take the user out of every group.
        #[arg(long, conflicts_with = "group")]
        no_groups: bool,
        /// Refuse logins, and every token.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Accept logins again.
        #[arg(long)]
        enable: bool,
        /// Set a new password, read from standard input; ends the user's browser sessions.
        #[arg(long, conflicts_with_all = ["group", "attribute", "no_groups", "disable", "enable"])]
        password_stdin: bool,
    },
    /// Delete a user with sessions, codes and refresh tokens.
    Delete {
        /// Which one.
        name: String,
    },
}

/// What may be said about a user.
#[derive(Args, Debug)]
pub(super) struct Wanted {
    /// A group, for policies; once for each. All of them together take the place of those before.
    #[arg(long)]
    group: Vec<String>,
    /// An attribute, for policies: `limit=500`, `country='"de"'`; null takes one away.
    #[arg(long, value_name = "NAME=JSON", value_parser = attribute)]
    attribute: Vec<(String, Value)>,
}

impl Wanted {
    fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        if !self.group.is_empty() {
            body.insert("groups".to_owned(), self.group.into());
        }
        if !self.attribute.is_empty() {
            body.insert("attributes".to_owned(), self.attribute.into_iter().collect::<Map<_, _>>().into());
        }
        body
    }
}

fn one(name: &str) -> String {
    format!("/admin/v1/users/{}", path_segment(name))
}

/// One line of standard input, or all of it; its end of line is none of the password.
fn password() -> Result<String, String> {
    let mut text = String::new();
    let mut input = std::io::stdin().lock().take(PASSWORD_BYTES_MAX);
    input.read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    match command {
        Command::Create { name, password_stdin: _, wanted } => {
            let mut body = wanted.body();
            match password() {
                Ok(password) => drop(body.insert("password".to_owned(), password.into())),
                Err(why) => return usage(&why),
            }
            body.insert("name".to_owned(), name.into());
            change(common, (Method::POST, "/admin/v1/users"), Some(&body.into()), shown)
        }
        Command::List => list(common, "/admin/v1/users", &[], usize::MAX, rows),
        Command::Show { name } => change(common, (Method::GET, &one(&name)), None, shown),
        Command::Update { name, wanted, no_groups, disable, enable, password_stdin } => {
            let mut body = wanted.body();
            if no_groups {
                body.insert("groups".to_owned(), Value::Null);
            }
            if disable || enable {
                body.insert("disabled".to_owned(), disable.into());
            }
            if password_stdin {
                match password() {
                    Ok(password) => drop(body.insert("password".to_owned(), password.into())),
                    Err(why) => return usage(&why),
                }
            }
            if body.is_empty() {
                return usage(&"say what to change; --help lists what there is");
            }
            change(common, (Method::PATCH, &one(&name)), Some(&body.into()), shown)
        }
        Command::Delete { name } => {
            change(common, (Method::DELETE, &one(&name)), None, |_| format!("{name} is deleted\n"))
        }
    }
}

fn shown(user: &Value) -> String {
    fields(user, &["name", "groups", "attributes", "disabled", "created_at"])
}

fn rows(users: &[Value]) -> String {
    let row = |user: &Value| {
        let state = if user["disabled"] == true { "disabled" } else { "active" };
        vec![text(&user["name"]), cell(&user["groups"]), state.to_owned(), text(&user["created_at"])]
    };
    table(&["NAME", "GROUPS", "STATE", "CREATED"], users.iter().map(row))
}
