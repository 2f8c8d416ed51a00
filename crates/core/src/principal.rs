//! Who calls: the one type that authentication and authorisation share.

/// The caller of a request, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Principal {
    /// Nobody in particular: the operation says `auth: none`.
    #[default]
    Anonymous,
}
