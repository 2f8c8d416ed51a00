//! A file's policies, each by itself: what is wrong with one says nothing about the next.

use std::sync::Arc;

use cedar_policy::pst::{Policy as Tree, Template};
use cedar_policy::{Effect, Policy, PolicyId};
use miette::Diagnostic;

use super::{Build, DEPTH_MAX, FINDINGS_MAX, POLICIES_MAX};
use crate::cases::PolicyRef;
use crate::finding::{Finding, Source};
use crate::inputs::{ALL, PolicyFile};
use crate::reads::{Reads, depth};
use crate::text;

/// Which of the two sets a policy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Enforced,
    Shadow,
}

/// A policy that could be read.
#[derive(Clone, Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) name: Arc<str>,
    pub(crate) folder: &'a str,
    pub(crate) source: Source<'a>,
    /// Where it begins in its file.
    pub(crate) begin: usize,
    pub(crate) policy: Policy,
    pub(crate) tree: Template,
    pub(crate) reads: Reads,
}

/// Longer names of policies belong into a comment.
const NAME_CHARS_MAX: usize = 128;

impl<'a> Parsed<'a> {
    /// Puts a finding at the policy's first character.
    pub(crate) fn place(&self, finding: Finding) -> Finding {
        finding.at(&self.source, self.begin, 1)
    }

    /// Its name and place.
    pub(crate) fn named(&self) -> PolicyRef {
        let line = self.source.line(self.begin);
        PolicyRef { file: self.source.path.into(), line, id: Arc::clone(&self.name) }
    }

    pub(crate) fn is_forbid(&self) -> bool {
        self.policy.effect() == Effect::Forbid
    }
}

impl<'a> Build<'a> {
    /// Reads the policies of a file into `into`, and says what is wrong with the others.
    pub(crate) fn parse_file(&mut self, file: &'a PolicyFile, into: &mut Vec<Parsed<'a>>) {
        let source = Source { path: &file.path, text: &file.text };
        let pieces = match text::cut(&file.text) {
            Ok(pieces) => pieces,
            Err(refused) => {
                let finding = Finding::error(refused.code, refused.message).help(refused.help);
                self.findings.push(finding.at(&source, refused.at, 1));
                return;
            }
        };
        for (index, piece) in pieces.iter().enumerate() {
            // Each finding looks for its line from the file's beginning: without this, many are quadratic.
            if self.findings.len() > FINDINGS_MAX || into.len() > POLICIES_MAX {
                return;
            }
            let begin = piece.bytes.start;
            let text = &file.text[piece.bytes.clone()];
            let policy = match Policy::parse(None, text) {
                Ok(policy) => policy,
                Err(errors) => {
                    let found = errors.iter().map(|error| diagnostic("policy_syntax", error, &source, begin));
                    self.findings.extend(found);
                    continue;
                }
            };
            let tree = match policy.to_pst() {
                Ok(Tree::Static(tree)) => tree.body().clone(),
                Ok(Tree::Linked(_)) => continue,
                Err(error) => {
                    let finding = Finding::error("policy_syntax", error.to_string());
                    self.findings.push(finding.at(&source, begin, 1));
                    continue;
                }
            };
            let name = name(file, index, &policy);
            let reads = Reads::of(&tree);
            let parsed = Parsed {
                policy: policy.new_id(PolicyId::new(&*name)),
                name,
                folder: &file.folder,
                source,
                begin,
                tree,
                reads,
            };
            self.alone(&parsed);
            into.push(parsed);
        }
    }

    /// What can be said of a policy without knowing the others.
    fn alone(&mut self, policy: &Parsed<'_>) {
        if depth(&policy.tree) > DEPTH_MAX {
            let message = format!("the policy's conditions are more than {DEPTH_MAX} levels deep");
            let help =
                "compare with a set (`[\"a\", \"b\"].contains(...)`), or split it into several policies";
            self.findings.push(policy.place(Finding::error("policy_too_deep", message).help(help)));
        }
        if policy.folder == ALL && !policy.is_forbid() {
            let message = format!("`{ALL}/` holds forbids only, and this is a permit");
            let help =
                "put it into the folder of the api that it is about; a permit here would open every api";
            self.findings.push(policy.place(Finding::error("policy_permit_for_all", message).help(help)));
        }
        let count = policy.name.chars().count();
        if count == 0 || count > NAME_CHARS_MAX || policy.name.contains(char::is_control) {
            let message =
                format!("an `@id` has 1 to {NAME_CHARS_MAX} characters, none of them a control character");
            self.findings.push(policy.place(Finding::error("policy_id", message)));
        }
    }

    /// A decision names policies, so a name must mean one.
    pub(crate) fn unique_names(&mut self, policies: &[Parsed<'a>]) {
        let mut sorted: Vec<&Parsed<'_>> = policies.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        for same in sorted.chunk_by(|a, b| a.name == b.name) {
            // Those in `_all` are named in the decisions of every api.
            let is_with_all = same.iter().any(|policy| policy.folder == ALL);
            for (index, policy) in same.iter().enumerate() {
                let meets = |other: &&&Parsed<'_>| is_with_all || other.folder == policy.folder;
                if let Some(first) = same[..index].iter().find(meets) {
                    let line = first.source.line(first.begin);
                    let message = format!(
                        "`{}` is also the name of a policy at {}:{line}",
                        policy.name, first.source.path
                    );
                    let finding = Finding::error("policy_id_taken", message).help("give it another `@id`");
                    self.findings.push(policy.place(finding));
                }
            }
        }
    }
}

/// `@id`, or the stem of the file and the number in it.
fn name(file: &PolicyFile, index: usize, policy: &Policy) -> Arc<str> {
    if let Some(id) = policy.annotation("id") {
        return id.into();
    }
    let base = file.path.rsplit('/').next().unwrap_or_default();
    let stem = base.strip_suffix(".cedar").unwrap_or(base);
    let folder = if file.folder == ALL { "_all/" } else { "" };
    format!("{folder}{stem}-{}", index + 1).into()
}

/// What Cedar found in the text that begins at `begin`.
pub(crate) fn diagnostic(
    code: &'static str,
    found: &dyn Diagnostic,
    source: &Source<'_>,
    begin: usize,
) -> Finding {
    let label = found.labels().and_then(|mut labels| labels.next());
    let (at, length) = label.map_or((0, 1), |label| (label.offset(), label.len()));
    let message = found.to_string();
    let finding =
        Finding::error(code, message.trim_end_matches('.')).at(source, begin.saturating_add(at), length);
    match found.help() {
        Some(help) => finding.help(help.to_string()),
        None => finding,
    }
}
