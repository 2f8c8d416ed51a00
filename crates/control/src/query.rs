//! What may stand behind the question mark of a list.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use mainstay_core::ProblemCode;
use mainstay_core::catalogue::port::PAGE_MAX;

use crate::problem::{FieldError, Refusal};
use crate::routes::App;

/// Items of a page where nothing is said.
const LIMIT_DEFAULT: usize = 100;
/// Longer than every cursor.
const VALUE_BYTES_MAX: usize = 256;

/// Parameters of a list that are not read yet. Each may stand once.
pub(crate) struct Parameters {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl FromRequestParts<App> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let given: Result<Query<Vec<(String, String)>>, QueryRejection> =
            Query::from_request_parts(parts, app).await;
        let Ok(Query(given)) = given else {
            return Err(Refusal::new(ProblemCode::MalformedRequest, "The query is not well formed."));
        };
        Ok(Self { given, known: Vec::new(), errors: Vec::new() })
    }
}

impl Parameters {
    /// One parameter, if it is there.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.given.swap_remove(at);
        if self.given.iter().any(|(given, _)| given == name) {
            self.given.retain(|(given, _)| given != name);
            self.wrong(name, "stands more than once");
            return None;
        }
        if value.is_empty() || value.len() > VALUE_BYTES_MAX {
            self.wrong(name, format!("must have 1 to {VALUE_BYTES_MAX} bytes"));
            return None;
        }
        Some(value)
    }

    /// A parameter that is read; `expected` says what it must be.
    pub(crate) fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let read = read(&value);
        if read.is_none() {
            self.wrong(name, expected);
        }
        read
    }

    /// How many items the page may have.
    pub(crate) fn limit(&mut self) -> usize {
        let expected = format!("must be a number from 1 to {PAGE_MAX}");
        let in_range = |n: &usize| (1..=PAGE_MAX).contains(n);
        let limit = self.read("limit", &expected, |text| text.parse().ok().filter(in_range));
        limit.unwrap_or(LIMIT_DEFAULT)
    }

    /// Refuses everything that was wrong, and every parameter that nobody has asked for.
    pub(crate) fn done(mut self) -> Result<(), Refusal> {
        let known = self.known.join(", ");
        for (name, _) in std::mem::take(&mut self.given) {
            let name: String = name.chars().take(64).collect();
            self.wrong(&name, format!("there is no such parameter; there are {known}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Refusal::invalid(self.errors)) }
    }

    fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::parameter(name, message));
    }
}
