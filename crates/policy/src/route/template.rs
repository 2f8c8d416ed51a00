//! Path templates, parsed.

use std::fmt;

use super::canonical::{canonical_text, is_dot_segment};
use super::{PARAMS_MAX, PathRefusal, SEGMENTS_MAX};

/// A path template such as `/payments/{id}:cancel`. The module's doc has the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pub(super) segments: Vec<Segment>,
    pub(super) names: Box<[Box<str>]>,
}

/// Literals are canonical here; names are kept apart, because they do not take part in matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Static(Box<str>),
    Param { prefix: Box<str>, suffix: Box<str> },
    Wildcard,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateError {
    NoSlash,
    EmptySegment,
    TooManySegments,
    TooManyParams,
    UnbalancedBraces,
    SecondParam,
    Name(String),
    DuplicateName(String),
    WildcardNotAlone,
    WildcardNotLast,
    /// A literal part that no canonical path can have.
    Literal(PathRefusal),
    DotSegment,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSlash => f.write_str("it does not begin with `/`"),
            Self::EmptySegment => f.write_str("it has an empty segment (`//`), which no path matches"),
            Self::TooManySegments => write!(f, "it has more than {SEGMENTS_MAX} segments"),
            Self::TooManyParams => write!(f, "it has more than {PARAMS_MAX} parameters"),
            Self::UnbalancedBraces => f.write_str("a brace has no partner"),
            Self::SecondParam => f.write_str("a segment has two parameters; one is allowed between slashes"),
            Self::Name(name) => write!(f, "`{name}` is no name for a parameter"),
            Self::DuplicateName(name) => write!(f, "the parameter `{name}` occurs twice"),
            Self::WildcardNotAlone => f.write_str("a wildcard (`{*name}`) must fill its segment"),
            Self::WildcardNotLast => f.write_str("a wildcard (`{*name}`) must be the last segment"),
            Self::Literal(refusal) => write!(f, "no request can match it: {refusal}"),
            Self::DotSegment => f.write_str("no request can match a segment `.` or `..`"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// # Errors
    /// What the grammar of the module does not allow.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let path = text.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
        let mut segments = Vec::new();
        let mut names: Vec<Box<str>> = Vec::new();
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if part.is_empty() && !is_last {
                return Err(TemplateError::EmptySegment);
            }
            if segments.len() == SEGMENTS_MAX {
                return Err(TemplateError::TooManySegments);
            }
            let (segment, name) = parse_segment(part)?;
            if segment == Segment::Wildcard && !is_last {
                return Err(TemplateError::WildcardNotLast);
            }
            segments.push(segment);
            if let Some(name) = name {
                if names.iter().any(|known| **known == *name) {
                    return Err(TemplateError::DuplicateName(name.to_owned()));
                }
                names.push(name.into());
            }
        }
        if names.len() > PARAMS_MAX {
            return Err(TemplateError::TooManyParams);
        }
        Ok(Template { text: text.into(), segments, names: names.into() })
    }

    /// The template as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name and value of each parameter in a canonical path that this template matches; of another one whatever stands there.
    pub fn values<'t, 'p>(&'t self, path: &'p str) -> Vec<(&'t str, &'p str)> {
        let mut names = self.names();
        let mut values = Vec::with_capacity(self.names.len());
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for segment in &self.segments {
            let (part, behind) = rest.split_once('/').unwrap_or((rest, ""));
            let value = match segment {
                Segment::Static(_) => None,
                Segment::Param { prefix, suffix } => {
                    let part = part.strip_prefix(&**prefix).unwrap_or(part);
                    Some(part.strip_suffix(&**suffix).unwrap_or(part))
                }
                Segment::Wildcard => Some(rest),
            };
            values.extend(value.and_then(|value| Some((names.next()?, value))));
            rest = behind;
        }
        values
    }

    /// Names of the parameters from left to right.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_segment(part: &str) -> Result<(Segment, Option<&str>), TemplateError> {
    let Some((before, behind)) = part.split_once('{') else {
        if part.contains('}') {
            return Err(TemplateError::UnbalancedBraces);
        }
        let literal = canonical_literal(part)?;
        if is_dot_segment(literal.as_bytes()) {
            return Err(TemplateError::DotSegment);
        }
        return Ok((Segment::Static(literal), None));
    };
    let (name, after) = behind.split_once('}').ok_or(TemplateError::UnbalancedBraces)?;
    if after.contains('{') {
        return Err(TemplateError::SecondParam);
    }
    if before.contains('}') || after.contains('}') {
        return Err(TemplateError::UnbalancedBraces);
    }
    if let Some(name) = name.strip_prefix('*') {
        if !before.is_empty() || !after.is_empty() {
            return Err(TemplateError::WildcardNotAlone);
        }
        return Ok((Segment::Wildcard, Some(check_name(name)?)));
    }
    let segment = Segment::Param { prefix: canonical_literal(before)?, suffix: canonical_literal(after)? };
    Ok((segment, Some(check_name(name)?)))
}

fn canonical_literal(text: &str) -> Result<Box<str>, TemplateError> {
    canonical_text(text.as_bytes()).map(Into::into).map_err(TemplateError::Literal)
}

fn check_name(name: &str) -> Result<&str, TemplateError> {
    let is_strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '{' | '*' | '?' | '#');
    if name.is_empty() || name.contains(is_strange) {
        return Err(TemplateError::Name(name.to_owned()));
    }
    Ok(name)
}
