//! What a run with a guard off has shown, from cargo-nextest's exit code and lines.

use std::collections::BTreeSet;

/// How a mutant ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Each of its tests failed.
    Killed,
    /// It did not, and why that is no proof.
    Survived(String),
}

/// Tests ran and some failed.
const TESTS_FAILED: i32 = 100;
/// Nothing was run, because it did not build.
const BUILD_FAILED: i32 = 101;
/// No test has one of the names.
const NO_TESTS: i32 = 4;

pub(super) fn judge(exit: Option<i32>, said: &str, package: &str, tests: &[String]) -> Outcome {
    let survived = |why: String| Outcome::Survived(why);
    match exit {
        Some(0) => survived(format!("{} passed without the guard", tests.join(", "))),
        Some(BUILD_FAILED) => survived(format!("it does not build, which proves nothing:\n{said}")),
        Some(NO_TESTS) => survived("no test has the name".to_owned()),
        Some(TESTS_FAILED) => {
            let failed = failed(said, package);
            let missing: Vec<&str> =
                tests.iter().map(String::as_str).filter(|test| !failed.contains(test)).collect();
            if missing.is_empty() {
                return Outcome::Killed;
            }
            survived(format!("did not fail by an assertion: {}", missing.join(", ")))
        }
        other => survived(format!("cargo nextest ended with {other:?}:\n{said}")),
    }
}

/// The tests on lines such as `FAIL [   0.005s] (1/2) mainstay-wire framing::tests::limits`. A test that was ended after
/// its time or died of a signal has another word there.
fn failed<'a>(said: &'a str, package: &str) -> BTreeSet<&'a str> {
    let lines = said.lines().filter_map(|line| line.trim_start().strip_prefix("FAIL ["));
    lines
        .filter_map(|rest| {
            let mut words = rest.rsplit(' ');
            let test = words.next()?;
            let binary = words.next()?;
            // Integration tests stand as `package::binary`.
            (binary.split("::").next() == Some(package)).then_some(test)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "  Nextest run ID 1\n        FAIL [   0.005s] (1/3) mainstay-tests::it edge::a\n\
                        \x20    TIMEOUT [ 180.000s] (2/3) mainstay-tests::it edge::b\n\
                        \x20    SIGABRT [   0.100s] (3/3) mainstay-tests::it edge::c\n";

    fn judged(exit: Option<i32>, tests: &[&str]) -> Outcome {
        let tests: Vec<String> = tests.iter().map(|test| (*test).to_owned()).collect();
        judge(exit, SAID, "mainstay-tests", &tests)
    }

    #[test]
    fn only_a_failed_assertion_kills() {
        for (exit, tests) in [
            (Some(0), &["edge::a"][..]),
            (Some(101), &["edge::a"]),
            (Some(4), &["edge::a"]),
            (Some(102), &["edge::a"]),
            (None, &["edge::a"]),
            (Some(100), &["edge::b"]),
            (Some(100), &["edge::c"]),
            (Some(100), &["edge::a", "edge::b"]),
            (Some(100), &["edge"]),
        ] {
            assert!(matches!(judged(exit, tests), Outcome::Survived(_)), "{exit:?} {tests:?}");
        }
        assert_eq!(judged(Some(100), &["edge::a"]), Outcome::Killed);
        let elsewhere = judge(Some(100), SAID, "mainstay", &["edge::a".to_owned()]);
        assert!(matches!(elsewhere, Outcome::Survived(_)), "{elsewhere:?}");
    }
}
