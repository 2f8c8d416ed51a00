//! Policy text before Cedar sees it: cut into policies, and refused where it would cost too much.
//!
//! Cedar's parser and what comes after it recurse as deep as the text is nested, and a stack that overflows takes the
//! process with it. So nesting and length are bounded here, by a scanner that recurses nowhere. It knows strings, comments
//! and brackets, and nothing else of the language; whatever it takes for one policy, Cedar has to read as exactly one.

use std::ops::Range;

/// Bytes of a file.
pub(crate) const FILE_BYTES_MAX: usize = 256 << 10;
/// Bytes of a policy, comments before it not counted.
pub(crate) const POLICY_BYTES_MAX: usize = 16 << 10;
/// Brackets of all kinds within one another.
const NESTING_MAX: usize = 32;
/// `if`s of a policy: they nest without brackets.
const IFS_MAX: usize = 32;

/// A policy's place in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// From its first character to its semicolon.
    pub(crate) bytes: Range<usize>,
}

/// Why a text is not even cut into policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) at: usize,
    pub(crate) code: &'static str,
    pub(crate) message: &'static str,
    pub(crate) help: &'static str,
}

/// Cuts a file into policies; each ends with its semicolon.
pub(crate) fn cut(text: &str) -> Result<Vec<Piece>, Refused> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Refused {
            at: 0,
            code: "policy_file_too_large",
            message: "the file is larger than 256 KiB",
            help: "split it into several files of the same folder",
        });
    }
    let mut scanner = Scanner { bytes: text.as_bytes(), at: 0 };
    let mut pieces = Vec::new();
    while let Some(piece) = scanner.policy()? {
        pieces.push(piece);
    }
    Ok(pieces)
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Steps over white space and comments.
    fn skip(&mut self) {
        loop {
            match (self.peek(), self.bytes.get(self.at + 1)) {
                (Some(byte), _) if byte.is_ascii_whitespace() => self.at += 1,
                (Some(b'/'), Some(b'/')) => self.line(),
                _ => return,
            }
        }
    }

    /// To the end of a comment. Cedar's end at a carriage return, too; what follows one must not be lost.
    fn line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n' && byte != b'\r') {
            self.at += 1;
        }
    }

    /// From an opening quote past the closing one, or to the end.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
        self.at = self.bytes.len();
    }

    fn word(&mut self) -> &[u8] {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.at += 1;
        }
        &self.bytes[begin..self.at]
    }

    fn policy(&mut self) -> Result<Option<Piece>, Refused> {
        self.skip();
        let begin = self.at;
        if begin == self.bytes.len() {
            return Ok(None);
        }
        let (mut nesting, mut ifs) = (0_usize, 0);
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'/' if self.bytes.get(self.at + 1) == Some(&b'/') => self.line(),
                b'a'..=b'z' | b'A'..=b'Z' | b'_' => ifs += usize::from(self.word() == b"if"),
                b'0'..=b'9' => {
                    let _ = self.word();
                }
                b'(' | b'[' | b'{' => {
                    nesting += 1;
                    self.at += 1;
                }
                b')' | b']' | b'}' => {
                    nesting = nesting.saturating_sub(1);
                    self.at += 1;
                }
                b';' if nesting == 0 => {
                    self.at += 1;
                    break;
                }
                _ => self.at += 1,
            }
            self.check(begin, nesting, ifs)?;
        }
        self.check(begin, nesting, ifs)?;
        Ok(Some(Piece { bytes: begin..self.at }))
    }

    fn check(&self, begin: usize, nesting: usize, ifs: usize) -> Result<(), Refused> {
        if self.at - begin > POLICY_BYTES_MAX {
            return Err(Refused {
                at: begin,
                code: "policy_too_long",
                message: "the policy is longer than 16 KiB",
                help: "split it into several policies, or end it with a semicolon",
            });
        }
        if nesting > NESTING_MAX || ifs > IFS_MAX {
            return Err(Refused {
                at: begin,
                code: "policy_too_deep",
                message: "the policy is nested too deeply",
                help: "split it into several policies: one `permit` or `forbid` for each case",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_before_anything_recurses() {
        let deep = "(".repeat(1 << 20);
        let ifs =
            "permit(principal, action, resource) when { ".to_owned() + &"if true then ".repeat(33) + "};";
        let rows = [
            ("x".repeat(FILE_BYTES_MAX + 1), "policy_file_too_large"),
            (deep[..4096].to_owned(), "policy_too_deep"),
            ("[".repeat(33), "policy_too_deep"),
            (ifs, "policy_too_deep"),
            ("true && ".repeat(4000), "policy_too_long"),
            (format!("permit(\"{}", "x".repeat(20_000)), "policy_too_long"),
        ];
        for (text, code) in rows {
            assert_eq!(cut(&text).map_err(|refused| refused.code), Err(code), "{}...", &text[..20]);
        }
    }

    #[test]
    fn strings_and_comments_hide_what_is_in_them() {
        let rows: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("  // only a comment; nothing\n", &[]),
            ("a; b;", &["a;", "b;"]),
            ("// one; two\na \";\\\"; (\" b; // c;", &["a \";\\\"; (\" b;"]),
            ("// one\ra; // two\rb;", &["a;", "b;"]),
            ("a { ; } ; rest", &["a { ; } ;", "rest"]),
            ("\"never closed ; ", &["\"never closed ; "]),
            ("a \\\"", &["a \\\""]),
        ];
        for (text, expected) in rows {
            let pieces = cut(text).unwrap();
            let cut: Vec<&str> = pieces.iter().map(|piece| &text[piece.bytes.clone()]).collect();
            assert_eq!(cut, expected, "{text}");
        }
    }
}
