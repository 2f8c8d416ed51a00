//! Configurations to begin with.

use std::path::Path;

use mainstay_openapi::{Document, Limits};

use crate::decode::{Naming as _, Refusal, Scalar as _};
use crate::diagnostic::{FileId, Place, Problem, Report, finish};
use crate::path::shape;
use crate::raw::{EndpointUrl, VersionName};
use crate::read::report_of;

/// A commented configuration that passes the check as it stands.
pub fn init_starter() -> &'static str {
    include_str!("starter.yaml")
}

/// A configuration that serves every operation of an OpenAPI document, in front of `upstream_url`.
///
/// `file_name` is how the document is reached from where the configuration will be written.
///
/// # Errors
/// What is wrong with the document, or with the URL.
pub fn init_from_openapi(text: &str, file_name: &str, upstream_url: &str) -> Result<String, Vec<Problem>> {
    if let Err(Refusal { code, message, help }) = EndpointUrl::read(upstream_url, true) {
        let problem = Problem::error(code, format!("the upstream `{upstream_url}`: {message}"));
        return Err(vec![match help {
            Some(help) => problem.with_help(help),
            None => problem,
        }]);
    }
    let document = match mainstay_openapi::read(text, &Limits::default()) {
        Ok(document) => document,
        Err(findings) => {
            let reports = findings.iter().map(|finding| report_of(finding, FileId(0), "")).collect();
            return Err(told(reports, text, file_name));
        }
    };
    let refused = document.operations.iter().filter_map(|operation| {
        let why = shape(&operation.path).err()?;
        let at = Place {
            line: operation.position.line,
            column: operation.position.column,
            ..Place::start(FileId(0))
        };
        Some(Report::error(
            "bad_template",
            &at,
            format!("`{}` is no path that can be routed: {why}", operation.path),
        ))
    });
    let refused: Vec<Report> = refused.collect();
    if !refused.is_empty() {
        return Err(told(refused, text, file_name));
    }
    Ok(Guess::of(&document).write(&document, file_name, upstream_url))
}

fn told(reports: Vec<Report>, text: &str, file_name: &str) -> Vec<Problem> {
    let line = |number: u32| text.lines().nth((number as usize).checked_sub(1)?).map(str::to_owned);
    finish(reports, |_, number| (Path::new(file_name).to_owned(), line(number)))
}

/// What a document lets one assume.
struct Guess {
    api: String,
    version: String,
    base_path: String,
    /// The service itself knows nothing of the version in the URL.
    strip_prefix: bool,
    /// A path of the document's server that the engine cannot put in front.
    lost: Option<String>,
}

impl Guess {
    fn of(document: &Document) -> Guess {
        let server = document.servers.first().map(|url| crate::check::path_of(url)).unwrap_or_default();
        let api = slug(&document.title);
        if let Some(version) = version_of_paths(document) {
            let lost = (!server.is_empty()).then(|| server.to_owned());
            return Guess { api, version, base_path: String::new(), strip_prefix: false, lost };
        }
        let is_base = |base: &str| base.is_empty() || shape(base).is_ok_and(|shape| !shape.contains('{'));
        if let Some((base, version)) = server.rsplit_once('/')
            && is_version(version)
            && is_base(base)
        {
            let (version, base_path) = (version.to_owned(), base.to_owned());
            return Guess { api, version, base_path, strip_prefix: false, lost: None };
        }
        let lost = (!server.is_empty()).then(|| server.to_owned());
        Guess { api, version: "v1".to_owned(), base_path: String::new(), strip_prefix: true, lost }
    }

    fn write(&self, document: &Document, file_name: &str, upstream_url: &str) -> String {
        let Guess { api, version, base_path, strip_prefix, lost } = self;
        let count = document.operations.len();
        let title = if document.title.is_empty() { api.as_str() } else { document.title.as_str() };
        let title: String = title.chars().filter(|c| !c.is_control()).collect();
        let mut text = format!(
            "# {title}: {count} operations of {}, served under {base_path}/{version}.\n\
             # `mainstay check` says what is wrong with this file, `mainstay run` serves it.\n\n\
             server:\n  listen: 127.0.0.1:8080             # 0.0.0.0:8080 for everybody\n\n\
             upstreams:\n  {api}:\n    endpoints: [{}]\n\n\
             apis:\n  {api}:\n",
            single_line(file_name),
            quoted(upstream_url),
        );
        if !base_path.is_empty() {
            text.push_str(&format!("    base_path: {}\n", quoted(base_path)));
        }
        text.push_str(
            "    defaults:\n      auth: none                        # anyone may call every operation: change this\n",
        );
        text.push_str(&format!("    versions:\n      {version}:\n        openapi: {}\n", quoted(file_name)));
        text.push_str(&format!("        upstream: {api}\n"));
        if let Some(path) = lost {
            let path: String = path.chars().filter(|c| !c.is_control()).collect();
            text.push_str(&format!(
                "        # The document's server has the path {path}, which is not sent to the upstream.\n"
            ));
        }
        if *strip_prefix {
            text.push_str(&format!("        strip_prefix: true              # the upstream gets paths without /{version}, as the document has them\n"));
        }
        text
    }
}

/// `v1` where every path begins with `/v1/`.
fn version_of_paths(document: &Document) -> Option<String> {
    let first = |path: &str| path.split('/').nth(1).map(str::to_owned);
    let version = first(&document.operations.first()?.path).filter(|segment| is_version(segment))?;
    let same = document
        .operations
        .iter()
        .all(|operation| first(&operation.path).as_deref() == Some(version.as_str()));
    same.then_some(version)
}

/// `v` and digits, perhaps with dots.
fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or_default();
    digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.chars().all(|c| c.is_ascii_digit() || c == '.')
        && VersionName::fits(segment)
}

/// A name of an api out of a title.
fn slug(title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let name = words.map(str::to_ascii_lowercase).take(4).collect::<Vec<_>>().join("-");
    let name: String = name.chars().take(40).collect();
    let name = name.trim_end_matches('-');
    if name.is_empty() { "api".to_owned() } else { name.to_owned() }
}

/// A double-quoted scalar. JSON's escapes are YAML's too; `${` would be a substitution.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:".contains(c);
    let is_safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'))
        && !text.ends_with(':')
        && text.contains(['/', '.'])
        && text.chars().all(plain);
    if is_safe { text.to_owned() } else { serde_json::json!(text.replace("${", "$${")).to_string() }
}

fn single_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
