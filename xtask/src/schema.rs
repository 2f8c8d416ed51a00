//! The JSON Schema of the configuration file, committed for editors and readers; drift is a failure.

use crate::shell;
use std::{fs, path::Path};

const COMMITTED: &str = "docs/mainstay.schema.json";

/// What to do with the schema that the binary prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Fail when the committed copy differs.
    Compare,
    /// Replace the committed copy.
    Write,
}

pub(crate) fn run(root: &Path, mode: Mode) -> Result<(), String> {
    let printed = shell::read(shell::cargo(root, &["run", "--quiet", "-p", "mainstay", "--", "schema"]))?;
    let file = root.join(COMMITTED);
    if mode == Mode::Write {
        return fs::write(&file, printed).map_err(|error| format!("cannot write {COMMITTED}: {error}"));
    }
    let committed = fs::read_to_string(&file).map_err(|error| format!("cannot read {COMMITTED}: {error}"))?;
    match first_difference(&committed, &printed) {
        None => Ok(()),
        Some(line) => Err(format!(
            "{COMMITTED}:{line}: differs from what the binary prints; bring it up to date with `cargo xtask schema --write`"
        )),
    }
}

/// The first line, counted from 1, at which two texts part; `None` when they are the same to the byte.
fn first_difference(committed: &str, printed: &str) -> Option<usize> {
    if committed == printed {
        return None;
    }
    let same = committed.lines().zip(printed.lines()).take_while(|(left, right)| left == right).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn drift_is_found_at_its_line() {
        let rows = [
            ("{\n}\n", "{\n}\n", None),
            ("{\n  1\n}\n", "{\n  2\n}\n", Some(2)),
            ("{\n}\n", "{\n}\nmore\n", Some(3)),
            ("{\n}", "{\n}\n", Some(3)),
            ("", "{}\n", Some(1)),
        ];
        for (committed, printed, expected) in rows {
            assert_eq!(first_difference(committed, printed), expected, "{committed:?} against {printed:?}");
        }
    }
}
