//! The name that was probably meant.

/// More names than this are not listed: the list would hide the sentence.
const NAMES_LISTED_MAX: usize = 12;

/// The candidate that a typing slip turns into `name`, if one is near enough.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let lower = name.to_lowercase();
    let slips_max = (name.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| *candidate != name)
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Help for a name that is not known: the nearest one, and which there are.
pub(crate) fn known<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> String {
    let all: Vec<&str> = candidates.clone().into_iter().collect();
    let meant = nearest(name, candidates).map(|near| format!("did you mean `{near}`? "));
    let listed = match all.len() {
        0 => "there is none".to_owned(),
        1..=NAMES_LISTED_MAX => format!("known here: {}", all.join(", ")),
        more => {
            let rest = more - NAMES_LISTED_MAX;
            format!("known here: {} and {rest} more", all[..NAMES_LISTED_MAX].join(", "))
        }
    };
    format!("{}{listed}", meant.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let check = |name, expected: Option<&str>| {
            assert_eq!(nearest(name, ["upstream", "openapi", "lifecycle"]), expected, "{name}");
        };
        check("tls", None);
        check("operations", None);
        check("upstrem", Some("upstream"));
        check("upstraem", Some("upstream"));
        check("OpenAPI", Some("openapi"));
        check("lifecyle", Some("lifecycle"));
    }

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..20).map(|n| format!("name{n}")).collect();
        assert!(known("other", names.iter().map(String::as_str)).ends_with("and 8 more"));
        assert_eq!(known("x", []), "there is none");
    }
}
