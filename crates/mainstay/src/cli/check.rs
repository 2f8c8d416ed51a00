//! Commands that need no running engine: `check`, `init`, `schema`, `explain`.

use std::path::{Path, PathBuf};

use mainstay_config::{Options, Problem, render_json, render_text};
use mainstay_core::clock::Clock;
use mainstay_core::units::parse_date;

use super::{Common, NO, OutputFormat, complain, say};
use crate::explain::{Asked, explain as explain_request};

/// Checks a configuration.
pub(super) fn check(
    common: &Common,
    file: Option<PathBuf>,
    against: Option<&Path>,
    allow_missing_env: bool,
) -> u8 {
    let path = file.unwrap_or_else(|| common.config.clone());
    let options = Options {
        against: against.map(Path::to_owned),
        allow_missing_env,
        now_s: Clock::System.now().seconds(),
        ..Options::default()
    };
    let mut outcome = mainstay_config::load(&path, &options);
    crate::lower::permissions::look(&mut outcome);
    if let Some(checked) = &outcome.checked {
        let wrong = crate::lower::wrong_files(checked, &path, Clock::System.now());
        if !wrong.is_empty() {
            outcome.checked = None;
            outcome.problems.extend(wrong);
        }
    }
    report(common, &outcome.problems, outcome.checked.is_some());
    if outcome.checked.is_none() {
        return NO;
    }
    if common.output == OutputFormat::Text
        && let Some(checked) = &outcome.checked
    {
        let operations: usize =
            checked.apis.values().flat_map(|a| a.versions.values()).map(|v| v.operations.len()).sum();
        say(&format!(
            "ok: {} apis, {operations} operations, {} upstreams (digest {})\n",
            checked.apis.len(),
            checked.upstreams.len(),
            crate::lower::short_digest(checked)
        ));
    }
    0
}

/// Prints problems in the form that was asked for.
pub(super) fn report(common: &Common, problems: &[Problem], ok: bool) {
    match common.output {
        OutputFormat::Json => say(&format!("{}\n", render_json(problems, ok))),
        OutputFormat::Text => complain(&render_text(problems)),
    }
}

/// Prints a configuration to begin with.
pub(super) fn init(from: Option<(&Path, &str)>) -> u8 {
    let Some((document, upstream)) = from else {
        say(mainstay_config::init_starter());
        return 0;
    };
    let text = match std::fs::read_to_string(document) {
        Ok(text) => text,
        Err(error) => {
            complain(&format!("mainstay init: {}: {error}\n", document.display()));
            return NO;
        }
    };
    match mainstay_config::init_from_openapi(&text, &document.to_string_lossy(), upstream) {
        Ok(configuration) => {
            say(&configuration);
            0
        }
        Err(problems) => {
            complain(&render_text(&problems));
            NO
        }
    }
}

/// Prints the schema.
pub(super) fn schema() -> u8 {
    let schema = serde_json::to_string_pretty(&mainstay_config::schema()).unwrap_or_default();
    say(&format!("{schema}\n"));
    0
}

/// Says what would happen to a request.
pub(super) fn explain(common: &Common, request: &[String], headers: &[String], at: Option<&str>) -> u8 {
    let (path, method, url) = match request {
        [file, method, url] => (PathBuf::from(file), method, url),
        [method, url] => (common.config.clone(), method, url),
        _ => {
            complain("mainstay explain: give FILE METHOD URL, or --request-id ID\n");
            return 2;
        }
    };
    let now_s = match at.map(parse_date).transpose() {
        Ok(at) => at.unwrap_or_else(|| Clock::System.now().seconds()),
        Err(error) => {
            complain(&format!("mainstay explain: --at: {error}\n"));
            return 2;
        }
    };
    let outcome = mainstay_config::load(&path, &Options { now_s, ..Options::default() });
    let Some(checked) = outcome.checked else {
        report(common, &outcome.problems, false);
        return NO;
    };
    match explain_request(&checked, &Asked { method, url, headers, now_s }) {
        Ok(answer) => {
            match common.output {
                OutputFormat::Json => say(&format!("{}\n", answer.json())),
                OutputFormat::Text => say(&answer.text()),
            }
            if answer.is_served() { 0 } else { NO }
        }
        Err(error) => {
            complain(&format!("mainstay explain: {error}\n"));
            2
        }
    }
}
