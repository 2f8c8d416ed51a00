//! Configuration: text, raw, checked.
mod check;
pub mod checked;
mod raw;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub severity: &'static str,
    pub code: &'static str,
    pub message: String,
    pub file: PathBuf,
    pub line: u32,
    pub column: u32,
    pub key: String,
    pub help: Option<String>,
}
impl Problem {
    pub fn error(code: &'static str, message: &str) -> Self {
        Self {
            severity: "error",
            code,
            message: message.to_owned(),
            file: PathBuf::new(),
            line: 0,
            column: 0,
            key: String::new(),
            help: None,
        }
    }
    pub fn at_file(mut self, file: &Path) -> Self {
        self.file = file.to_owned();
        self
    }
    pub fn for_key(mut self, key: &str) -> Self {
        self.key = key.to_owned();
        self
    }
    pub fn is_error(&self) -> bool {
        self.severity == "error"
    }
}
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub against: Option<PathBuf>,
    pub allow_missing_env: bool,
    pub now_s: i64,
    pub published: Published,
}
#[derive(Debug)]
pub struct Outcome {
    pub checked: Option<checked::Checked>,
    pub problems: Vec<Problem>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Published(pub BTreeMap<String, i64>);
impl Published {
    pub fn merge(&mut self, other: &Self) {
        for (k, v) in &other.0 {
            let e = self.0.entry(k.clone()).or_insert(*v);
            *e = (*e).max(*v);
        }
    }
}
pub fn published_of(checked: &checked::Checked) -> Published {
    let mut all = BTreeMap::new();
    for api in checked.apis.values() {
        for v in api.versions.values() {
            if let Some(s) = v.lifecycle.sunset_s {
                all.insert(format!("{}/{}", api.name, v.name), s);
            }
        }
    }
    Published(all)
}
pub fn load(path: &Path, options: &Options) -> Outcome {
    check::load(path, options)
}
pub fn render_text(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|p| format!("{}:{}:{}: {}: {}\n", p.file.display(), p.line, p.column, p.severity, p.message))
        .collect()
}
pub fn problems_json(problems: &[Problem]) -> String {
    serde_json::to_string(problems).unwrap_or_default()
}
pub fn render_json(problems: &[Problem], ok: bool) -> String {
    serde_json::json!({"ok": ok, "problems": problems}).to_string()
}
pub fn effective(checked: &checked::Checked) -> BTreeMap<String, serde_json::Map<String, serde_json::Value>> {
    let mut all = BTreeMap::new();
    for api in checked.apis.values() {
        for v in api.versions.values() {
            for op in &v.operations {
                let mut m = serde_json::Map::new();
                m.insert("template".into(), op.template.clone().into());
                m.insert("upstream".into(), v.upstream.name.clone().into());
                all.insert(format!("{} {} {}", api.name, v.name, op.name), m);
            }
        }
    }
    all
}
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    pub operation: String,
    pub key: String,
    pub old: Option<serde_json::Value>,
    pub new: Option<serde_json::Value>,
    pub loosens: bool,
}
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {:?} -> {:?}", self.operation, self.key, self.old, self.new)
    }
}
type Effective = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;
pub fn diff(old: &Effective, new: &Effective) -> Vec<Change> {
    let mut changes = Vec::new();
    for key in old.keys().chain(new.keys()).collect::<std::collections::BTreeSet<_>>() {
        if old.get(key) != new.get(key) {
            changes.push(Change {
                operation: key.clone(),
                key: String::new(),
                old: old.get(key).map(|m| m.clone().into()),
                new: new.get(key).map(|m| m.clone().into()),
                loosens: false,
            });
        }
    }
    changes
}
