//! When signing keys are made, take over, retire and go: a function of what there is and the time.
//!
//! A key is published a day before it signs, so that whoever keeps the set has it by then, and stays published after it
//! has signed its last token until that token has expired everywhere.

use mainstay_core::catalogue::SigningKey;

/// How long a key signs.
pub(crate) const SIGNS_FOR_MS: i64 = 30 * 86_400_000;
/// How long it is published before.
pub(crate) const PUBLISHED_BEFORE_MS: i64 = 86_400_000;
/// How long it is published after: the longest that `auth.oauth.access_token` can be, and what clocks may be apart.
pub(crate) const PUBLISHED_AFTER_MS: i64 = 86_400_000 + 5 * 60_000;

/// Something to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a key that signs from then on.
    Add { active_from: i64 },
    /// This one signs no more.
    Retire { id: String },
    /// This one verifies no more.
    Remove { id: String },
}

/// The key that signs now: of those that may, the one that began last.
pub(crate) fn signing(keys: &[SigningKey], now: i64) -> Option<&SigningKey> {
    let may_sign = |key: &&SigningKey| {
        key.active_from <= now && key.retired_at.is_none_or(|at| now < at) && key.removed_at.is_none()
    };
    keys.iter().filter(may_sign).max_by_key(|key| (key.active_from, &key.id))
}

/// The keys that verify now.
pub(crate) fn published(keys: &[SigningKey], now: i64) -> impl Iterator<Item = &SigningKey> {
    keys.iter().filter(move |key| key.removed_at.is_none_or(|at| now < at))
}

/// What to do now. Doing it twice, on two nodes at once, makes a key more than is needed and nothing worse.
pub(crate) fn due(keys: &[SigningKey], now: i64) -> Vec<Step> {
    let mut steps = Vec::new();
    let current = signing(keys, now);
    let successor_is_there =
        keys.iter().any(|key| key.active_from > now && key.retired_at.is_none() && key.removed_at.is_none());
    match current {
        None => steps.push(Step::Add { active_from: now }),
        Some(current) if !successor_is_there => {
            let takes_over_at = current.active_from.saturating_add(SIGNS_FOR_MS);
            if now >= takes_over_at - PUBLISHED_BEFORE_MS {
                // Later than planned where the engine did not run: a day of publication it has all the same.
                steps.push(Step::Add { active_from: takes_over_at.max(now + PUBLISHED_BEFORE_MS) });
            }
        }
        Some(_) => {}
    }
    for key in keys.iter().filter(|key| key.removed_at.is_none()) {
        match (key.retired_at, current) {
            (Some(at), _) if now >= at.saturating_add(PUBLISHED_AFTER_MS) => {
                steps.push(Step::Remove { id: key.id.clone() });
            }
            (None, Some(current)) if key.active_from <= now && key.id != current.id => {
                steps.push(Step::Retire { id: key.id.clone() });
            }
            _ => {}
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn key(id: &str, active_from: i64, retired_at: Option<i64>, removed_at: Option<i64>) -> SigningKey {
        SigningKey {
            id: id.to_owned(),
            algorithm: "ES256".to_owned(),
            public_jwk: "{}".to_owned(),
            private: Default::default(),
            created_at: 0,
            active_from,
            retired_at,
            removed_at,
        }
    }

    fn steps(keys: &[SigningKey], now: i64) -> Vec<String> {
        due(keys, now)
            .into_iter()
            .map(|step| match step {
                Step::Add { active_from } => format!("add {}", active_from / DAY),
                Step::Retire { id } => format!("retire {id}"),
                Step::Remove { id } => format!("remove {id}"),
            })
            .collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_after() {
        assert_eq!(steps(&[], 0), ["add 0"]);
        let a = key("a", 0, None, None);
        assert_eq!(steps(std::slice::from_ref(&a), 29 * DAY - 1), [""; 0]);
        assert_eq!(steps(std::slice::from_ref(&a), 29 * DAY), ["add 30"]);
        // The engine did not run for a while: the day of publication is kept.
        assert_eq!(steps(std::slice::from_ref(&a), 50 * DAY), ["add 51"]);
        let both = [a.clone(), key("b", 30 * DAY, None, None)];
        assert_eq!(signing(&both, 30 * DAY - 1).unwrap().id, "a");
        assert_eq!(steps(&both, 30 * DAY - 1), [""; 0]);
        assert_eq!(signing(&both, 30 * DAY).unwrap().id, "b");
        assert_eq!(steps(&both, 30 * DAY), ["retire a"]);
        let retired = [key("a", 0, Some(30 * DAY), None), both[1].clone()];
        assert_eq!(steps(&retired, 30 * DAY + PUBLISHED_AFTER_MS - 1), [""; 0]);
        assert_eq!(published(&retired, 31 * DAY).count(), 2);
        assert_eq!(steps(&retired, 30 * DAY + PUBLISHED_AFTER_MS), ["remove a"]);
        let removed = [key("a", 0, Some(30 * DAY), Some(31 * DAY)), both[1].clone()];
        assert_eq!(published(&removed, 31 * DAY).map(|key| key.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(steps(&removed, 40 * DAY), [""; 0]);
        // Two nodes began at once: one key remains.
        assert_eq!(steps(&[key("a", 5, None, None), key("b", 5, None, None)], 6), ["retire a"]);
        // Somebody retired the only one.
        assert_eq!(steps(&[key("a", 0, Some(DAY), None)], 2 * DAY - 1), ["add 1"]);
    }
}
