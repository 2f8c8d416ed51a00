//! A key that may be there, and a value that knows where it stands.

use std::ops::Deref;
use std::sync::Arc;

use mainstay_openapi::tree;

use super::{Decode, Decoder};
use crate::diagnostic::{FileId, Place};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) value: T,
    pub(crate) at: Place,
    /// The text as it stands in the file, where something was substituted into it: what messages may show.
    pub(crate) written: Option<Arc<str>>,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsRef<str>> Spanned<T> {
    /// The value for a message: never what came out of the environment or a file.
    pub(crate) fn shown(&self) -> &str {
        self.written.as_deref().unwrap_or(self.value.as_ref())
    }
}

/// One key of a block.
#[derive(Clone, Debug)]
pub(crate) struct Field<T> {
    pub(crate) state: State<T>,
    /// What applies when the key is absent everywhere, as it would be written.
    pub(crate) default: Option<&'static str>,
}

/// Whether a key is there.
#[derive(Clone, Debug)]
pub(crate) enum State<T> {
    Absent,
    /// It is there and wrong (which has been reported), or its variable is missing.
    Unreadable,
    Given(Spanned<T>),
}

impl<T> Field<T> {
    pub(crate) fn absent(default: Option<&'static str>) -> Field<T> {
        Field { state: State::Absent, default }
    }

    pub(crate) fn get(&self) -> Option<&Spanned<T>> {
        match &self.state {
            State::Given(spanned) => Some(spanned),
            State::Absent | State::Unreadable => None,
        }
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self.state, State::Absent)
    }

    /// The place of the value, where there is one.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.get().map(|spanned| &spanned.at)
    }
}

impl<T: Decode> Field<T> {
    /// The value, or the default that the declaration of the key names.
    pub(crate) fn value(&self) -> T {
        match (&self.state, self.default) {
            (State::Given(spanned), _) => spanned.value.clone(),
            (_, Some(text)) => default_of(text),
            (_, None) => unreachable!("the declaration of this key names no default"),
        }
    }

    /// This key, or the one of a wider place where this is absent; blocks merge key by key.
    pub(crate) fn over(&self, under: &Field<T>) -> Field<T> {
        let state = match (&self.state, &under.state) {
            (State::Absent, other) => other.clone(),
            (State::Given(mine), State::Given(other)) => {
                State::Given(Spanned { value: mine.value.over(&other.value), ..mine.clone() })
            }
            (mine, _) => mine.clone(),
        };
        Field { state, default: self.default }
    }
}

/// Reads a default from its declaration. Tests read all of them, so a wrong one does not get far.
pub(crate) fn default_of<T: Decode>(text: &'static str) -> T {
    let node = tree::parse(text, &tree::Limits::default()).expect("a declared default is valid text");
    let mut cx = Decoder::new(FileId(0), std::path::PathBuf::new(), &());
    T::decode(&node, &mut cx).expect("a declared default is valid for its key")
}
