//! Rules about the documents: every link leads somewhere, every guide is listed, the changelog has an open section.

use super::{Files, Finding};

const LIST: &str = "docs/README.md";
/// Folders whose every document stands in the list.
const LISTED: &[&str] = &["docs/guides/", "docs/adr/"];

/// `exists` answers for paths from the workspace's root that are no text files: folders and pictures.
pub(super) fn check(files: &Files, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".md")) {
        findings.extend(check_links(path, text, files, exists));
    }
    findings.extend(check_list(files));
    findings.extend(check_changelog(files.get("CHANGELOG.md").map_or("", String::as_str)));
    findings
}

pub(super) fn check_links(
    path: &str,
    text: &str,
    files: &Files,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in links(text) {
        let (file, anchor) =
            target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
        let leads_to = if file.is_empty() { Some(path.to_owned()) } else { resolve(path, file) };
        let Some(leads_to) = leads_to.filter(|leads_to| files.contains_key(leads_to) || exists(leads_to))
        else {
            findings.push(Finding::new(path, line, format!("the link to {target} leads nowhere")));
            continue;
        };
        let (Some(anchor), Some(text)) = (anchor, files.get(&leads_to)) else { continue };
        if leads_to.ends_with(".md") && !anchors(text).iter().any(|known| known == anchor) {
            findings.push(Finding::new(path, line, format!("{leads_to} has no heading for #{anchor}")));
        }
    }
    findings
}

/// Links to files, with their lines: inline ones and definitions, outside of code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once("](") {
            let (target, next) = after.split_once(')').unwrap_or((after, ""));
            if before.matches('`').count().is_multiple_of(2) {
                found.push((number, target));
            }
            rest = next;
        }
        if let Some((_, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            found.push((number, target));
        }
    }
    // A title may follow the target; addresses with a scheme are not files.
    let targets =
        found.into_iter().map(|(number, target)| (number, target.split(' ').next().unwrap_or(target)));
    targets.filter(|(_, target)| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// Lines outside of fenced code blocks.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push((index + 1, line));
        }
    }
    lines
}

/// The path from the root that a link in `from` means; `None` when it leaves the workspace.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

/// The anchors that a document's headings make, as code hosts form them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (_, line) in prose(text).into_iter().filter(|(_, line)| line.starts_with('#')) {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        let anchor: String = kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect();
        let times = anchors.iter().filter(|known| **known == anchor).count();
        anchors.push(if times == 0 { anchor } else { format!("{anchor}-{times}") });
    }
    anchors
}

pub(super) fn check_list(files: &Files) -> Vec<Finding> {
    let Some(list) = files.get(LIST) else { return vec![Finding::new(LIST, 0, "is missing")] };
    let listed: Vec<String> =
        links(list).into_iter().filter_map(|(_, target)| resolve(LIST, target)).collect();
    let documents = files
        .keys()
        .filter(|path| path.ends_with(".md") && LISTED.iter().any(|folder| path.starts_with(folder)));
    documents
        .filter(|path| !listed.contains(path))
        .map(|path| Finding::new(path, 0, format!("is not listed in {LIST}")))
        .collect()
}

pub(super) fn check_changelog(text: &str) -> Option<Finding> {
    let open = text.lines().any(|line| line.starts_with("## [Unreleased]"));
    (!open).then(|| Finding::new("CHANGELOG.md", 0, "has no section `## [Unreleased]`"))
}
