//! Just enough of Rust's grammar to find functions, attributes and test code in a file.
//!
//! A full parser would be a dependency heavier than all of this tool. Strings, comments and character literals are
//! blanked first; in what is left, brackets balance and words mean what they say. Offsets and line numbers stay those
//! of the file.

use std::ops::Range;

/// The source with the inside of comments, strings and character literals replaced by spaces, byte for byte.
pub(super) fn code_only(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let (end, blank) = token(source, at);
        if let Some(blank) = blank {
            for byte in &mut code[blank] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        at = end;
    }
    // What is blanked is whole characters, so this is text again.
    String::from_utf8(code).unwrap_or_default()
}

/// The end of the token at `at`, and the part of it that is not code.
fn token(source: &str, at: usize) -> (usize, Option<Range<usize>>) {
    let rest = &source[at..];
    if rest.starts_with("//") {
        let end = at + rest.find('\n').unwrap_or(rest.len());
        return (end, Some(at..end));
    }
    if rest.starts_with("/*") {
        let end = at + block_comment(rest);
        return (end, Some(at..end));
    }
    if rest.starts_with('"') {
        let end = at + quoted(rest, '"');
        return (end, Some(at + 1..end.saturating_sub(1).max(at + 1)));
    }
    if rest.starts_with('\'') {
        return match char_literal(rest) {
            Some(length) => (at + length, Some(at + 1..at + length - 1)),
            None => (at + 1, None),
        };
    }
    let word = rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len());
    if word == 0 {
        return (at + rest.chars().next().map_or(1, char::len_utf8), None);
    }
    match raw_string(&rest[..word], &rest[word..]) {
        Some(length) => (at + word + length, Some(at + word..at + word + length)),
        None => (at + word, None),
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of a literal that begins with `quote` and ends at the next one without a backslash.
fn quoted(rest: &str, quote: char) -> usize {
    let mut letters = rest.char_indices().skip(1);
    while let Some((index, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return index + 1;
        }
    }
    rest.len()
}

/// The length of a character literal; `None` when the quote begins a lifetime.
fn char_literal(rest: &str) -> Option<usize> {
    let letter = rest[1..].chars().next()?;
    if letter == '\\' {
        return Some(quoted(rest, '\''));
    }
    let end = 1 + letter.len_utf8();
    rest[end..].starts_with('\'').then_some(end + 1)
}

/// `r"..."`, `br#"..."#` and their kin: the length after the prefix.
fn raw_string(prefix: &str, rest: &str) -> Option<usize> {
    if !matches!(prefix, "r" | "br" | "cr") {
        return None;
    }
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let body = rest[hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(hashes + 1 + body.find(&close).map_or(body.len(), |end| end + close.len()))
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The line of an offset, counted from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Where `word` stands as a word of its own.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back().is_some_and(is_word);
        let after = code[at + word.len()..].chars().next().is_some_and(is_word);
        !before && !after
    })
}

/// The offset after the bracket that closes the one at `open`.
pub(super) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return offset + 1;
        }
    }
    code.len()
}

/// The end of the item that begins at `start`: the `}` of its body, or its `;`.
fn item_end(code: &str, start: usize) -> usize {
    let mut at = start;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'{' => return closing(code, at),
            b'(' | b'[' => at = closing(code, at),
            b';' => return at + 1,
            _ => at += 1,
        }
    }
    code.len()
}

/// A function with a body: its name and the whole of it, from `fn` to `}`.
pub(super) fn functions(code: &str) -> Vec<(&str, Range<usize>)> {
    let mut found = Vec::new();
    for at in words(code, "fn") {
        let rest = code[at + 2..].trim_start();
        let name = &rest[..rest.find(|letter: char| !is_word(letter)).unwrap_or(rest.len())];
        let end = item_end(code, at);
        // `fn(u8) -> u8` is a type, and a method without a body is a promise.
        if !name.is_empty() && code[..end].ends_with('}') {
            found.push((name, at..end));
        }
    }
    found
}

/// Attributes, outer and inner: the offset of `#` and what stands between the brackets.
pub(super) fn attributes(code: &str) -> Vec<(usize, Range<usize>)> {
    let opens = code.match_indices('#').filter_map(|(at, _)| {
        let after = code[at + 1..].strip_prefix('!').map_or(at + 1, |_| at + 2);
        code[after..]
            .starts_with('[')
            .then(|| (at, after + 1..closing(code, after).saturating_sub(1).max(after + 1)))
    });
    opens.collect()
}

/// Items that only a test build has: what follows `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
pub(super) fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items: Vec<Range<usize>> = Vec::new();
    for (at, inside) in attributes(code) {
        let text = &code[inside.clone()];
        let conditional = text.trim_start().starts_with("cfg(") && words(text, "test").next().is_some();
        let only_tests = text.trim() == "test" || (conditional && words(text, "not").next().is_none());
        let nested = items.last().is_some_and(|item| item.contains(&at));
        if only_tests && !nested {
            items.push(at..item_end(code, inside.end + 1));
        }
    }
    items
}
