//! `mainstay permissions explain`: what the policies of a running engine say about somebody.

use std::fmt::Write as _;

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use crate::cli::ask::{show, text, usage};
use crate::cli::catalogue::answered;
use crate::cli::{Common, NO};

/// Who wants to do what.
#[derive(Args, Debug)]
pub(in crate::cli) struct Question {
    /// The api's name.
    api: String,
    /// The version's name.
    version: String,
    /// The operation's name, or what policies call it.
    operation: String,
    /// The consumer on whose behalf it is.
    #[arg(long, value_name = "ID")]
    consumer: Option<String>,
    /// The person who acts.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A parameter of the path; once for each.
    #[arg(long, value_name = "NAME=VALUE")]
    path: Vec<String>,
    /// A field of the body by the name that policies have for it; once for each.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "body")]
    field: Vec<String>,
    /// The whole body instead.
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
    /// What the credential is for; once for each scope.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Where the request comes from.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// api_key, jwt, oauth, introspection or mtls.
    #[arg(long, value_name = "METHOD")]
    auth_method: Option<String>,
    /// live or test.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// When it comes, such as 2027-02-01T22:30:00Z; without it, now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Question {
    fn body(&self) -> Result<Value, String> {
        let texts = [
            ("api", Some(&self.api)),
            ("version", Some(&self.version)),
            ("operation", Some(&self.operation)),
            ("consumer", self.consumer.as_ref()),
            ("user", self.user.as_ref()),
            ("body", self.body.as_ref()),
            ("address", self.address.as_ref()),
            ("auth_method", self.auth_method.as_ref()),
            ("mode", self.mode.as_ref()),
            ("at", self.at.as_ref()),
        ];
        let mut body: Map<String, Value> = texts
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?.as_str().into())))
            .collect();
        if !self.scope.is_empty() {
            body.insert("scopes".to_owned(), self.scope.clone().into());
        }
        body.insert("path".to_owned(), named("--path", &self.path, |text| text.into())?.into());
        if !self.field.is_empty() {
            body.insert("fields".to_owned(), named("--field", &self.field, json_or_text)?.into());
        }
        Ok(body.into())
    }
}

fn named(
    option: &str,
    given: &[String],
    value: impl Fn(&str) -> Value,
) -> Result<Map<String, Value>, String> {
    let pair = |pair: &String| {
        let (name, text) = pair.split_once('=').ok_or_else(|| format!("{option} takes NAME=VALUE"))?;
        Ok((name.to_owned(), value(text)))
    };
    given.iter().map(pair).collect()
}

/// A number or a boolean where it is one, else a text.
fn json_or_text(text: &str) -> Value {
    let scalar =
        serde_json::from_str(text).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
    scalar.unwrap_or_else(|| text.into())
}

/// Runs it.
pub(super) fn run(common: &Common, question: &Question) -> u8 {
    let body = match question.body() {
        Ok(body) => body,
        Err(why) => return usage(&why),
    };
    match answered(common, (Method::POST, "/admin/v1/authorize"), Some(&body)) {
        Ok(answer) => {
            show(common, &answer, told);
            if answer["allowed"] == true { 0 } else { NO }
        }
        Err(code) => code,
    }
}

fn told(answer: &Value) -> String {
    let mut out = format!("{}: {}\n", verdict(answer), because(&answer["reason"]));
    if answer["shadow"].is_object() {
        let shadow = &answer["shadow"];
        let _ = writeln!(out, "shadow policies: {}: {}", verdict(shadow), because(&shadow["reason"]));
    }
    for policy in answer["considered"].as_array().into_iter().flatten() {
        let said = match policy["outcome"]["is"].as_str() {
            Some("matched") => "holds".to_owned(),
            Some("not_matched") => "does not hold".to_owned(),
            _ => format!("could not be evaluated: {}", text(&policy["outcome"]["text"])),
        };
        let shadow = if policy["shadow"] == true { "shadow " } else { "" };
        let (effect, id, file) = (text(&policy["effect"]), text(&policy["id"]), text(&policy["file"]));
        let _ = writeln!(out, "  {file}:{}: {shadow}{effect} {id} {said}", policy["line"]);
    }
    for note in answer["notes"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "note: {}", text(note));
    }
    out
}

fn verdict(decision: &Value) -> &'static str {
    if decision["allowed"] == true { "allowed" } else { "denied" }
}

fn because(reason: &Value) -> String {
    let ids: Vec<String> = reason["ids"].as_array().into_iter().flatten().map(text).collect();
    let ids = ids.join(", ");
    match reason["because"].as_str() {
        Some("no_policies") => "no policy is about it".to_owned(),
        Some("permit") => format!("permitted by {ids}"),
        Some("forbid") => format!("forbidden by {ids}"),
        Some("no_permit") => "no policy permits it".to_owned(),
        _ => format!("{ids} could not be evaluated: {}", text(&reason["text"])),
    }
}
