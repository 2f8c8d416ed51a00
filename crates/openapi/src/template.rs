//! The shape of a path template: what is left of it when the names of parameters are taken away.
//!
//! Two templates of one shape match the same paths, so a document may have only one of them (OpenAPI: "templated paths
//! with the same hierarchy but different templated names must not exist as they are identical"). The grammar is that of
//! the route table, which parses a template once more and has the last word on literals (escapes, dot segments).

/// The shape of `template`: `/payments/{id}:cancel` gives `/payments/{}:cancel`, `/files/{*rest}` gives `/files/{*}`.
///
/// # Errors
/// What is wrong with the template, as the second half of a sentence ("it ...").
pub fn shape(template: &str) -> Result<String, String> {
    let path = template.strip_prefix('/').ok_or("it does not begin with `/`")?;
    if template.contains(['?', '#']) {
        return Err("it has a query or a fragment, which are no part of a path".to_owned());
    }
    let mut shape = String::with_capacity(template.len());
    let mut names = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        if segment.is_empty() && !is_last {
            return Err("it has an empty segment (`//`), which no path matches".to_owned());
        }
        shape.push('/');
        let Some((prefix, name, suffix)) = parameter(segment)? else {
            shape.push_str(segment);
            continue;
        };
        let is_wildcard = name.starts_with('*');
        if is_wildcard && !(is_last && prefix.is_empty() && suffix.is_empty()) {
            return Err(format!("the wildcard `{{{name}}}` must be the whole last segment"));
        }
        if names.contains(&name) {
            return Err(format!("the parameter `{name}` occurs twice"));
        }
        names.push(name);
        shape.extend([prefix, if is_wildcard { "{*}" } else { "{}" }, suffix]);
    }
    Ok(shape)
}

/// The one parameter of a segment, with the literal parts around it.
fn parameter(segment: &str) -> Result<Option<(&str, &str, &str)>, String> {
    let unbalanced = || "a brace has no partner".to_owned();
    let Some((prefix, rest)) = segment.split_once('{') else {
        return if segment.contains('}') { Err(unbalanced()) } else { Ok(None) };
    };
    let (name, suffix) = rest.split_once('}').ok_or_else(unbalanced)?;
    if suffix.contains('{') {
        return Err(format!("the segment `{segment}` has two parameters; one is allowed between slashes"));
    }
    if prefix.contains('}') || suffix.contains('}') || name.contains('{') {
        return Err(unbalanced());
    }
    let bare = name.strip_prefix('*').unwrap_or(name);
    let is_strange = |c: char| c.is_whitespace() || c.is_control() || c == '*';
    if bare.is_empty() || bare.contains(is_strange) {
        return Err(format!("`{{{name}}}` does not name a parameter"));
    }
    Ok(Some((prefix, name, suffix)))
}

#[cfg(test)]
mod tests {
    use super::shape;

    #[test]
    fn what_is_no_template_is_refused() {
        for (template, part) in [
            ("", "begin with"),
            ("payments", "begin with"),
            ("/a?b=1", "query"),
            ("/a#b", "fragment"),
            ("/a//b", "empty segment"),
            ("/{id", "partner"),
            ("/id}", "partner"),
            ("/}{", "partner"),
            ("/{a{b}", "partner"),
            ("/{a}}", "partner"),
            ("/{a}{b}", "two parameters"),
            ("/{}", "name a parameter"),
            ("/{*}", "name a parameter"),
            ("/{a b}", "name a parameter"),
            ("/{id}/x/{id}", "occurs twice"),
            ("/{*rest}/x", "last segment"),
            ("/a{*rest}", "last segment"),
        ] {
            let error = shape(template).expect_err(template);
            assert!(error.contains(part), "{template}: {error}");
        }
    }

    #[test]
    fn names_are_taken_away() {
        for (template, expected) in [
            ("/", "/"),
            ("/payments/", "/payments/"),
            ("/payments/{id}", "/payments/{}"),
            ("/payments/{id}:cancel", "/payments/{}:cancel"),
            ("/v{n}/{file}.json", "/v{}/{}.json"),
            ("/legacy/{*rest}", "/legacy/{*}"),
        ] {
            assert_eq!(shape(template).as_deref(), Ok(expected));
        }
    }
}
