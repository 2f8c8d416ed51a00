//! A file with cases, read strictly: a misspelt key is an error, not a case that tests something else.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use mainstay_core::principal::{Attributes, AuthMethod, Mode};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_saphyr::Spanned;

use crate::finding::Finding;
use crate::inputs::{ALL, PolicyFile};

const FILE_BYTES_MAX: usize = 1 << 20;
const DEPTH_MAX: usize = 32;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    pub(super) api: String,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) raw: CaseRaw,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRaw {
    cases: Vec<Spanned<CaseRaw>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseRaw {
    pub(super) name: Option<String>,
    pub(super) api: Option<String>,
    #[serde(default)]
    pub(super) principal: PrincipalRaw,
    pub(super) operation: String,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) path: BTreeMap<String, String>,
    pub(super) body: Option<Json>,
    #[serde(default)]
    pub(super) context: ContextRaw,
    pub(super) expect: Expect,
    pub(super) by: Option<OneOrMore>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrincipalRaw {
    pub(super) consumer: Option<String>,
    pub(super) user: Option<String>,
    pub(super) plan: Option<String>,
    #[serde(default)]
    pub(super) groups: Vec<String>,
    #[serde(default)]
    pub(super) attributes: Attributes,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContextRaw {
    pub(super) hour: u8,
    pub(super) weekday: Weekday,
    pub(super) address: IpAddr,
    pub(super) auth_method: AuthMethod,
    pub(super) mode: Mode,
    pub(super) scopes: Vec<String>,
}

impl Default for ContextRaw {
    fn default() -> Self {
        Self {
            hour: 12,
            weekday: Weekday::Wednesday,
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            auth_method: AuthMethod::ApiKey,
            mode: Mode::Live,
            scopes: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Expect {
    Allow,
    Deny,
    Error,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// Reads a file with cases; its folder says which api they are about.
///
/// # Errors
/// What is wrong with it. The first thing only: what follows could be a consequence.
pub fn parse(file: &PolicyFile) -> Result<Vec<Case>, Box<Finding>> {
    let at_file = |mut finding: Finding| {
        finding.file = file.path.as_str().into();
        Box::new(finding)
    };
    if file.text.len() > FILE_BYTES_MAX {
        let finding = Finding::error("cases_too_large", "the file is larger than 1 MiB");
        return Err(at_file(finding.help("split it into several files of the same folder")));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
    };
    let raw: FileRaw = serde_saphyr::from_str_with_options(&file.text, options).map_err(|error| {
        let message = error.to_string();
        let mut finding = at_file(Finding::error("cases_syntax", message.trim_end_matches('.')));
        if let Some(location) = error.location() {
            finding.line = u32::try_from(location.line()).unwrap_or_default();
            finding.column = u32::try_from(location.column()).unwrap_or_default();
        }
        finding
    })?;
    let mut cases = Vec::with_capacity(raw.cases.len());
    for Spanned { value, defined, .. } in raw.cases {
        let line = u32::try_from(defined.line()).unwrap_or_default();
        let wrong = |message: &str| {
            let mut finding = at_file(Finding::error("case", message));
            (finding.line, finding.column) = (line, u32::try_from(defined.column()).unwrap_or_default());
            finding
        };
        let api = match (&value.api, file.folder.as_str()) {
            (Some(api), ALL) => api.clone(),
            (None, ALL) => return Err(wrong("a case in `_all/` says its `api`")),
            (Some(api), folder) if api != folder => {
                return Err(wrong("a case is about the api of its folder, or stands in `_all/`"));
            }
            (_, folder) => folder.to_owned(),
        };
        if value.context.hour > 23 {
            return Err(wrong("`hour` is from 0 to 23"));
        }
        cases.push(Case { api, file: file.path.clone(), line, raw: value });
    }
    Ok(cases)
}
