//! `mainstay consumer`.

use clap::{Args, Subcommand};
use http::Method;
use mainstay_control::client::path_segment;
use serde_json::{Map, Value};

use super::Common;
use super::ask::{text, usage};
use super::catalogue::{cell, change, fields, list, table};

/// What to do about consumers.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a consumer.
    Create {
        /// What it is called in keys, logs and policies; never changes.
        id: String,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// List all consumers, those of the configuration included.
    List,
    /// Show one consumer.
    Show {
        /// Which one.
        id: String,
    },
    /// Change a consumer; what is not named stays.
    Update {
        /// Which one.
        id: String,
        #[command(flatten)]
        wanted: Wanted,
        /// Put it on the default plan.
        #[arg(long, conflicts_with = "plan")]
        no_plan: bool,
        /// Take it out of every group.
        #[arg(long, conflicts_with = "group")]
        no_groups: bool,
        /// Accept nothing that it holds.
        #[arg(long, conflicts_with = "resume")]
        suspend: bool,
        /// Accept what it holds again.
        #[arg(long)]
        resume: bool,
    },
    /// Delete a consumer with its keys.
    Delete {
        /// Which one.
        id: String,
    },
}

/// What may be said about a consumer.
#[derive(Args, Debug)]
pub(super) struct Wanted {
    /// For people; the id where there is none.
    #[arg(long)]
    name: Option<String>,
    /// A plan of the configuration.
    #[arg(long)]
    plan: Option<String>,
    /// A group, for policies; once for each. All of them together take the place of those before.
    #[arg(long)]
    group: Vec<String>,
    /// An attribute, for policies: `limit=500`, `country='"de"'`; null takes one away.
    #[arg(long, value_name = "NAME=JSON", value_parser = attribute)]
    attribute: Vec<(String, Value)>,
}

pub(super) fn attribute(argument: &str) -> Result<(String, Value), String> {
    let (name, json) = argument.split_once('=').ok_or("expected NAME=JSON")?;
    let value = serde_json::from_str(json)
        .map_err(|_| format!("{json} is no JSON; a text is written in quotes: {name}='\"text\"'"))?;
    Ok((name.to_owned(), value))
}

impl Wanted {
    fn body(self) -> Map<String, Value> {
        let mut body = Map::new();
        for (name, value) in [("name", self.name), ("plan", self.plan)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.into());
            }
        }
        if !self.group.is_empty() {
            body.insert("groups".to_owned(), self.group.into());
        }
        if !self.attribute.is_empty() {
            body.insert("attributes".to_owned(), self.attribute.into_iter().collect::<Map<_, _>>().into());
        }
        body
    }
}

fn one(id: &str) -> String {
    format!("/admin/v1/consumers/{}", path_segment(id))
}

/// Runs it.
pub(super) fn run(common: &Common, command: Command) -> u8 {
    match command {
        Command::Create { id, wanted } => {
            let mut body = wanted.body();
            body.insert("id".to_owned(), id.into());
            change(common, (Method::POST, "/admin/v1/consumers"), Some(&body.into()), shown)
        }
        Command::List => list(common, "/admin/v1/consumers", &[], usize::MAX, rows),
        Command::Show { id } => change(common, (Method::GET, &one(&id)), None, shown),
        Command::Update { id, wanted, no_plan, no_groups, suspend, resume } => {
            let mut body = wanted.body();
            for (name, cleared) in [("plan", no_plan), ("groups", no_groups)] {
                if cleared {
                    body.insert(name.to_owned(), Value::Null);
                }
            }
            if suspend || resume {
                body.insert("suspended".to_owned(), suspend.into());
            }
            if body.is_empty() {
                return usage(&"say what to change; --help lists what there is");
            }
            change(common, (Method::PATCH, &one(&id)), Some(&body.into()), shown)
        }
        Command::Delete { id } => {
            change(common, (Method::DELETE, &one(&id)), None, |_| format!("{id} is deleted, with its keys\n"))
        }
    }
}

fn shown(consumer: &Value) -> String {
    fields(consumer, &["id", "name", "plan", "groups", "attributes", "suspended", "created_at", "source"])
}

fn rows(consumers: &[Value]) -> String {
    let row = |consumer: &Value| {
        let state = if consumer["suspended"] == true { "suspended" } else { "active" };
        vec![
            text(&consumer["id"]),
            cell(&consumer["name"]),
            cell(&consumer["plan"]),
            cell(&consumer["groups"]),
            state.to_owned(),
            text(&consumer["source"]),
        ]
    };
    table(&["ID", "NAME", "PLAN", "GROUPS", "STATE", "SOURCE"], consumers.iter().map(row))
}
