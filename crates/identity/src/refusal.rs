//! Why somebody is not let in, in one type: what the answer says, what the log says, and who is to blame.
//!
//! Every sentence here is fixed text. Nothing of a credential, not even a name from it, reaches an answer or a log through
//! this type. A dependency that fails is [`Refusal::Unavailable`]: never a 401, which would send clients hunting for
//! another credential.

use mainstay_core::problem::{Problem, ProblemCode};

use crate::jwt::TokenRefusal;
use crate::mtls::CertificateRefusal;

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing that the operation accepts was presented.
    NoCredentials,
    /// Something was presented, and the operation asks for more beside it.
    Incomplete,
    /// The same field several times.
    RepeatedField,
    /// Credentials of two parties.
    TwoIdentities,
    /// A credential in the query string.
    KeyInQuery,
    /// A scheme other than Bearer.
    Scheme,
    /// An `Authorization` that is no credential of its scheme.
    MalformedField,
    /// Longer than any credential.
    TooLong,
    /// The API key is not accepted.
    Key(KeyRefusal),
    /// The token is not accepted.
    Token(TokenRefusal),
    /// The certificate is not accepted.
    Certificate(CertificateRefusal),
    /// What says whether it is good cannot be asked.
    Unavailable {
        /// After how many seconds trying again makes sense.
        retry_after_s: u32,
    },
    /// Too many failures before this one.
    TooManyAttempts {
        /// After how many seconds the next attempt is admitted.
        retry_after_s: u32,
    },
}

/// Why an API key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRefusal {
    /// It begins like one of ours and cannot be one.
    Malformed,
    /// Its checksum says that it was changed.
    WrongChecksum,
    /// Nobody has it.
    Unknown,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
    /// Nothing of its consumer is accepted.
    Suspended,
    /// The client's address is not one that it may be used from.
    Address,
    /// It is not for this api.
    Api,
}

/// `error` of RFC 6750, section 3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerError {
    /// The request is wrong, whatever the token.
    InvalidRequest,
    /// The token is wrong.
    InvalidToken,
    /// The token may not do this.
    InsufficientScope,
}

impl BearerError {
    /// The name in the challenge.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

impl Refusal {
    /// The code of the answer.
    pub const fn code(self) -> ProblemCode {
        match self {
            Self::NoCredentials | Self::Incomplete | Self::Scheme => ProblemCode::Unauthenticated,
            Self::RepeatedField | Self::TwoIdentities => ProblemCode::ConflictingCredentials,
            Self::KeyInQuery => ProblemCode::KeyInQuery,
            Self::MalformedField | Self::TooLong => ProblemCode::InvalidCredentials,
            Self::Key(refusal) => refusal.code(),
            Self::Token(refusal) => refusal.code(),
            Self::Certificate(refusal) => refusal.code(),
            Self::Unavailable { .. } => ProblemCode::IdentityUnavailable,
            Self::TooManyAttempts { .. } => ProblemCode::TooManyAttempts,
        }
    }

    /// What is wrong, in a sentence that says nothing about what was presented.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoCredentials => "This operation asks for credentials, and none that it accepts was sent.",
            Self::Incomplete => {
                "This operation asks for several credentials together, and not all were sent."
            }
            Self::RepeatedField => "A field with credentials was sent more than once, or in two ways.",
            Self::TwoIdentities => "The credentials that were sent do not belong to the same consumer.",
            Self::KeyInQuery => "A credential was sent in the query string. It was not looked at.",
            Self::Scheme => "The scheme of the Authorization field is not accepted here.",
            Self::MalformedField => {
                "The Authorization field is not one word of the scheme and one credential."
            }
            Self::TooLong => "The credential is longer than any that is accepted.",
            Self::Key(refusal) => refusal.detail(),
            Self::Token(refusal) => refusal.detail(),
            Self::Certificate(refusal) => refusal.detail(),
            Self::Unavailable { .. } => {
                "The source that says whether the credentials are good cannot be reached."
            }
            Self::TooManyAttempts { .. } => {
                "Too many attempts with wrong credentials came from this address."
            }
        }
    }

    /// One word for the trail and for metrics, from a closed set.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoCredentials => "none",
            Self::Incomplete => "incomplete",
            Self::RepeatedField => "repeated_field",
            Self::TwoIdentities => "two_identities",
            Self::KeyInQuery => "key_in_query",
            Self::Scheme => "scheme",
            Self::MalformedField => "malformed_field",
            Self::TooLong => "too_long",
            Self::Key(refusal) => refusal.reason(),
            Self::Token(refusal) => refusal.reason(),
            Self::Certificate(refusal) => refusal.reason(),
            Self::Unavailable { .. } => "unavailable",
            Self::TooManyAttempts { .. } => "too_many_attempts",
        }
    }

    /// What the Bearer challenge says; `None` where nothing was presented (RFC 6750, section 3.1).
    pub const fn bearer_error(self) -> Option<BearerError> {
        match self.code().status() {
            400 => Some(BearerError::InvalidRequest),
            403 => Some(BearerError::InsufficientScope),
            401 if !matches!(self, Self::NoCredentials | Self::Incomplete | Self::Scheme) => {
                Some(BearerError::InvalidToken)
            }
            _ => None,
        }
    }

    /// Whether it counts against the client: a guess that was wrong, not a dependency that failed.
    pub const fn is_failed_attempt(self) -> bool {
        match self {
            Self::MalformedField | Self::TooLong | Self::Token(_) | Self::Certificate(_) => true,
            Self::Key(refusal) => !matches!(refusal, KeyRefusal::Address | KeyRefusal::Api),
            _ => false,
        }
    }

    /// The answer.
    pub fn problem(self) -> Problem {
        let problem = Problem::new(self.code(), self.detail());
        match self {
            Self::Unavailable { retry_after_s } | Self::TooManyAttempts { retry_after_s } => {
                problem.retry_after_s(retry_after_s)
            }
            _ => problem,
        }
    }
}

impl KeyRefusal {
    /// The code of the answer.
    pub const fn code(self) -> ProblemCode {
        match self {
            Self::Malformed | Self::WrongChecksum => ProblemCode::MalformedKey,
            Self::Unknown | Self::Revoked | Self::Suspended => ProblemCode::InvalidCredentials,
            Self::Expired => ProblemCode::CredentialsExpired,
            Self::Address => ProblemCode::AddressNotAllowed,
            Self::Api => ProblemCode::PermissionMissing,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Malformed => "The API key begins like one and has the wrong length or a wrong character.",
            Self::WrongChecksum => "The API key's checksum is wrong: it is not as it was issued.",
            Self::Unknown => "Nobody has this API key.",
            Self::Revoked => "This API key was revoked.",
            Self::Expired => "This API key has expired.",
            Self::Suspended => "The consumer of this API key is suspended.",
            Self::Address => "This API key may not be used from the client's address.",
            Self::Api => "This API key may not be used for this API.",
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "key_malformed",
            Self::WrongChecksum => "key_checksum",
            Self::Unknown => "key_unknown",
            Self::Revoked => "key_revoked",
            Self::Expired => "key_expired",
            Self::Suspended => "key_suspended",
            Self::Address => "key_address",
            Self::Api => "key_api",
        }
    }
}
