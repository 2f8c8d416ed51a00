//! Scopes as bits: what a credential may be used for, compared in a few instructions.
//!
//! Every name that the configuration or the catalogue uses gets a number once, for as long as the process lives
//! ([`ScopeNames`]). Tokens of foreign issuers do not: their names only count when one of ours is meant, so nobody outside
//! can fill the table.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The most names there are in one process. A configuration and catalogue that need more are refused by who loads them.
pub const SCOPE_NAMES_MAX: usize = 4096;

/// Why a name got no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyScopes;

/// Numbers of names. Grows only: a number stays good over every reload.
#[derive(Debug, Default)]
pub struct ScopeNames {
    numbers: RwLock<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    by_name: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl ScopeNames {
    /// The set of these names, giving numbers to new ones.
    ///
    /// # Errors
    /// There would be more than [`SCOPE_NAMES_MAX`].
    pub fn give<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<ScopeSet, TooManyScopes> {
        let mut set = ScopeSet::default();
        for name in names {
            set.insert(self.number(name)?);
        }
        Ok(set)
    }

    /// The set of those names that have a number: what a token of another issuer says, as far as it matters here.
    pub fn known<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> ScopeSet {
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        let mut set = ScopeSet::default();
        for name in names {
            if let Some(number) = numbers.by_name.get(name) {
                set.insert(*number);
            }
        }
        set
    }

    /// The names of a set, in the order of their numbers.
    pub fn names(&self, set: &ScopeSet) -> Vec<Arc<str>> {
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        set.numbers().filter_map(|number| numbers.names.get(number as usize).cloned()).collect()
    }

    /// How many names there are. A set that [`ScopeNames::known`] made is out of date when this has grown.
    pub fn len(&self) -> usize {
        self.numbers.read().unwrap_or_else(PoisonError::into_inner).names.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn number(&self, name: &str) -> Result<u32, TooManyScopes> {
        let numbers = self.numbers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.by_name.get(name) {
            return Ok(*number);
        }
        drop(numbers);
        let mut numbers = self.numbers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.by_name.get(name) {
            return Ok(*number);
        }
        if numbers.names.len() >= SCOPE_NAMES_MAX {
            return Err(TooManyScopes);
        }
        let number = u32::try_from(numbers.names.len()).map_err(|_| TooManyScopes)?;
        let name: Arc<str> = name.into();
        numbers.names.push(Arc::clone(&name));
        numbers.by_name.insert(name, number);
        Ok(number)
    }
}

/// A set of scopes, as bits. Only sets of the same [`ScopeNames`] may be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet {
    /// The highest word is not zero, so that equal sets are equal words.
    words: Vec<u64>,
}

impl ScopeSet {
    /// Whether every scope of `required` is here.
    #[inline]
    pub fn holds(&self, required: &Self) -> bool {
        required.words.iter().enumerate().all(|(at, word)| word & !self.word(at) == 0)
    }

    /// What of `required` is not here.
    pub fn lacks(&self, required: &Self) -> Self {
        let words = required.words.iter().enumerate().map(|(at, word)| word & !self.word(at)).collect();
        Self::trimmed(words)
    }

    /// What is in both.
    pub fn common(&self, other: &Self) -> Self {
        Self::trimmed(self.words.iter().enumerate().map(|(at, word)| word & other.word(at)).collect())
    }

    /// Whether there is no scope in it.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    fn insert(&mut self, number: u32) {
        let at = number as usize / 64;
        if self.words.len() <= at {
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= 1 << (number % 64);
    }

    fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    fn trimmed(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }

    fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        let bits = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| (at * 64) as u32 + bit)
        };
        self.words.iter().enumerate().flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_given_and_lack_the_rest() {
        let names = ScopeNames::default();
        // More than a word of them, so that sets of different lengths meet.
        let many: Vec<String> = (0..130).map(|n| format!("s{n}")).collect();
        let all = names.give(many.iter().map(String::as_str)).unwrap();
        let few = names.give(["s1", "s129"]).unwrap();
        let one = names.give(["s1"]).unwrap();
        let none = ScopeSet::default();
        for (set, required, held) in [
            (&all, &few, true),
            (&few, &all, false),
            (&few, &one, true),
            (&one, &few, false),
            (&none, &one, false),
            (&none, &none, true),
            (&one, &none, true),
        ] {
            assert_eq!(set.holds(required), held, "{set:?} {required:?}");
            assert_eq!(set.lacks(required).is_empty(), held);
        }
        assert_eq!(names.names(&one.lacks(&few)), ["s129".into()]);
        assert_eq!(names.names(&all.common(&few)), ["s1".into(), "s129".into()]);
        assert_eq!(one.common(&names.give(["s2"]).unwrap()), none);
    }

    #[test]
    fn a_foreign_name_gets_no_number() {
        let names = ScopeNames::default();
        let ours = names.give(["payments:read"]).unwrap();
        assert_eq!(names.known(["payments:read", "openid", "payments:Read"]), ours);
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn the_table_has_an_end() {
        let names = ScopeNames::default();
        let many: Vec<String> = (0..SCOPE_NAMES_MAX).map(|n| n.to_string()).collect();
        assert!(names.give(many.iter().map(String::as_str)).is_ok());
        assert_eq!(names.give(["one more"]), Err(TooManyScopes));
        assert!(names.give(["7"]).is_ok(), "known ones go on");
        assert_eq!(names.len(), SCOPE_NAMES_MAX);
    }
}
