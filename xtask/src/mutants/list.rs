//! The list of mutants: `tests/mutants/*.toml`, read by hand in the little TOML that it needs.
//!
//! ```toml
//! [[mutant]]
//! name = "trailing-data"                  # unique in the folder
//! guards = "What the guard is there for."
//! file = "crates/wire/src/framing.rs"
//! find = "if n > max {"                   # occurs exactly once in the file
//! replace = "if false {"
//! package = "mainstay-wire"               # where the tests are
//! tests = "framing::tests::limits"        # full names, blanks between; all of them must fail
//! ```
//!
//! Strings are taken as they stand: `"..."` on one line without a quote or a backslash inside, `'...'` on one line, or
//! `'''...'''` over several. What is not understood is an error, so that no entry is passed over.

/// A guard switched off, and the tests that must notice.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) guards: String,
    pub(crate) file: String,
    pub(crate) find: String,
    pub(crate) replace: String,
    pub(crate) package: String,
    pub(crate) tests: Vec<String>,
    /// Where it begins in its list, counted from 1.
    pub(crate) line: usize,
}

impl Mutant {
    /// The file with the guard off.
    ///
    /// # Errors
    /// Says so when the text does not stand there exactly once.
    pub(crate) fn applied(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.find).count() {
            1 => Ok(text.replacen(&self.find, &self.replace, 1)),
            number => Err(format!("mutant {}: its text stands {number} times in {}", self.name, self.file)),
        }
    }

    /// The folder of its tests' crate.
    pub(crate) fn tests_folder(&self) -> String {
        match self.package.strip_prefix("mainstay-") {
            Some("tests") => "tests/".to_owned(),
            Some(name) => format!("crates/{name}/"),
            None if self.package == "mainstay" => "crates/mainstay/".to_owned(),
            None => format!("{}/", self.package),
        }
    }
}

/// Reads one list. An error has the line it is in.
pub(crate) fn parse(text: &str) -> Result<Vec<Mutant>, (usize, String)> {
    let mut found: Vec<Mutant> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let fail = |what: &str| Err((number, what.to_owned()));
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line == "[[mutant]]" {
            found.push(Mutant { line: number, ..Mutant::default() });
            continue;
        }
        let Some((key, value)) = line.split_once(" = ") else { return fail("neither a key nor [[mutant]]") };
        let Some(mutant) = found.last_mut() else { return fail("a key before the first [[mutant]]") };
        let value = match value.strip_prefix("'''") {
            Some(begun) => match block(begun, &mut lines) {
                Some(value) => value,
                None => return fail("''' without its end"),
            },
            None => match plain(value) {
                Some(value) => value.to_owned(),
                None => return fail("the value is no plain string on one line"),
            },
        };
        if value.is_empty() && key != "replace" {
            return fail("an empty value");
        }
        let tests;
        let place = match key {
            "name" => &mut mutant.name,
            "guards" => &mut mutant.guards,
            "file" => &mut mutant.file,
            "find" => &mut mutant.find,
            "replace" => &mut mutant.replace,
            "package" => &mut mutant.package,
            "tests" => {
                tests = value.split_whitespace().map(str::to_owned).collect();
                mutant.tests = tests;
                continue;
            }
            _ => return fail("an unknown key"),
        };
        *place = value;
    }
    match found.iter().find(|mutant| !is_whole(mutant)) {
        Some(mutant) => {
            Err((mutant.line, "an entry needs name, guards, file, find, package and tests".to_owned()))
        }
        None => Ok(found),
    }
}

fn is_whole(mutant: &Mutant) -> bool {
    let Mutant { name, guards, file, find, replace, package, tests, line: _ } = mutant;
    [name, guards, file, find, package].iter().all(|text| !text.is_empty())
        && !tests.is_empty()
        && find != replace
}

fn plain(value: &str) -> Option<&str> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inside = value.strip_prefix(quote)?.strip_suffix(quote)?;
    let verbatim = !(inside.contains(quote) || quote == '"' && inside.contains('\\'));
    verbatim.then_some(inside)
}

/// The rest of a string over several lines. As in TOML, a line end right after the opening quotes does not count.
fn block<'a>(begun: &str, lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Option<String> {
    let mut value = String::new();
    let mut line = begun;
    let mut is_first = true;
    loop {
        if let Some(last) = line.strip_suffix("'''") {
            value.push_str(last);
            return Some(value);
        }
        if !(is_first && line.is_empty()) {
            value.push_str(line);
            value.push('\n');
        }
        is_first = false;
        (_, line) = lines.next()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "# why\n[[mutant]]\nname = \"a\"\nguards = \"b.\"\nfile = \"f.rs\"\nfind = '''\n  x(\"y\");\n  z'''\n\
                         replace = ''\npackage = \"mainstay-wire\"\ntests = \"m::one m::two\"\n";

    #[test]
    fn an_entry_is_read_whole() {
        let expected = Mutant {
            name: "a".to_owned(),
            guards: "b.".to_owned(),
            file: "f.rs".to_owned(),
            find: "  x(\"y\");\n  z".to_owned(),
            replace: String::new(),
            package: "mainstay-wire".to_owned(),
            tests: vec!["m::one".to_owned(), "m::two".to_owned()],
            line: 2,
        };
        assert_eq!(parse(WHOLE), Ok(vec![expected]));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn blocks_are_those_of_toml() {
        let check = |value: &str, expected: &str| {
            let text = WHOLE.replace("replace = ''", &format!("replace = {value}"));
            assert_eq!(
                parse(&text).map(|found| found[0].replace.clone()),
                Ok(expected.to_owned()),
                "{value}"
            );
        };
        check("'''a'''", "a");
        check("'''\na'''", "a");
        check("'''\n\na\n'''", "\na\n");
        check("'''a\n\n  b'''", "a\n\n  b");
        check("''''''", "");
        check("'it\"s'", "it\"s");
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line() {
        let check = |text: &str, line: usize| {
            let found = parse(text);
            assert_eq!(found.as_ref().map_err(|(at, _)| *at), Err(line), "{text}\n{found:?}");
        };
        check("name = \"a\"\n", 1);
        check("[[mutant]]\nname = a\n", 2);
        check("[[mutant]]\nname = \"a\\n\"\n", 2);
        check("[[mutant]]\nname = 'a\n", 2);
        check("[[mutant]]\nname = '''a\n", 2);
        check("[[mutant]]\nnames = 'a'\n", 2);
        check("[[mutants]]\n", 1);
        check(&WHOLE.replace("name = \"a\"\n", ""), 2);
        check(&WHOLE.replace("\"m::one m::two\"", "\" \""), 2);
        check(&WHOLE.replace("replace = ''", "replace = '''  x(\"y\");\n  z'''"), 2);
        check(&WHOLE.replace("\"a\"", "\"\""), 3);
    }

    #[test]
    fn a_mutant_is_applied_once_or_not_at_all() {
        let mutant = Mutant { find: "a".to_owned(), replace: "b".to_owned(), ..Mutant::default() };
        assert_eq!(mutant.applied("xay"), Ok("xby".to_owned()));
        assert!(mutant.applied("xy").is_err() && mutant.applied("aa").is_err());
    }

    #[test]
    fn tests_are_looked_for_in_their_crate() {
        for (package, folder) in [
            ("mainstay", "crates/mainstay/"),
            ("mainstay-wire", "crates/wire/"),
            ("mainstay-tests", "tests/"),
            ("xtask", "xtask/"),
        ] {
            assert_eq!(Mutant { package: package.to_owned(), ..Mutant::default() }.tests_folder(), folder);
        }
    }
}
