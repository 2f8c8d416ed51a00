//! Why a token is not accepted.

use mainstay_core::problem::ProblemCode;

/// Why a token is not accepted. Each has a fixed sentence that repeats nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenRefusal {
    /// No token of this kind is accepted here: opaque, encrypted, or of another number of parts.
    Kind,
    /// Not three parts of canonical base64url, or not JSON objects in them.
    Malformed,
    /// `alg` is missing, or not one that the issuer and its key may use.
    Algorithm,
    /// A header parameter that would bring a key along or change what is signed.
    Header,
    /// `typ` is of another kind of token, or missing where it must be there.
    Type,
    /// `kid` is no short text.
    KeyId,
    /// Nobody whom the configuration names issued it.
    Issuer,
    /// Its issuer has no such key.
    UnknownKey,
    /// No `kid`, and more than one key that it could be.
    AmbiguousKey,
    /// The signature is not of this issuer's key.
    Signature,
    /// It is for somebody else.
    Audience,
    /// A claim that must be there is missing, or one is not of its type or range.
    Claim,
    /// It is over.
    Expired,
    /// It has not begun.
    NotYetValid,
    /// It is bound to a key that the sender has not shown (`cnf`).
    Bound,
    /// It names no consumer, or one that is not known.
    Consumer,
    /// Its consumer is suspended, or its client or user disabled.
    Suspended,
    /// It was taken back.
    Revoked,
    /// Its server says that it is not active, and not why (RFC 7662, section 2.2).
    Inactive,
}

impl TokenRefusal {
    /// The code of the answer.
    pub const fn code(self) -> ProblemCode {
        match self {
            Self::Expired => ProblemCode::CredentialsExpired,
            _ => ProblemCode::InvalidCredentials,
        }
    }

    /// What is wrong, in a sentence.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Kind => "A token of this kind is not accepted here.",
            Self::Malformed => "The token is no well-formed JSON Web Token.",
            Self::Algorithm => "The token's algorithm is not accepted from its issuer.",
            Self::Header => "The token's header holds a parameter that is not accepted.",
            Self::Type => "The token is of another type than an access token.",
            Self::KeyId => "The token's key id is not acceptable.",
            Self::Issuer => "The token's issuer is not known here.",
            Self::UnknownKey => "The token is signed with a key that its issuer does not publish.",
            Self::AmbiguousKey => "The token does not say which of its issuer's keys signed it.",
            Self::Signature => "The token's signature is wrong.",
            Self::Audience => "The token was issued for another audience.",
            Self::Claim => "A claim of the token is missing or has a wrong type or value.",
            Self::Expired => "The token has expired.",
            Self::NotYetValid => "The token is not valid yet.",
            Self::Bound => "The token is bound to a key, and nothing shows that the sender has it.",
            Self::Consumer => "The token does not name a consumer that is known here.",
            Self::Suspended => "The token's consumer, client or user is suspended.",
            Self::Revoked => "The token was revoked.",
            Self::Inactive => "The server that issues such tokens says that this one is not active.",
        }
    }

    /// One word for the trail and for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Kind => "token_kind",
            Self::Malformed => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::Header => "token_header",
            Self::Type => "token_type",
            Self::KeyId => "token_key_id",
            Self::Issuer => "token_issuer",
            Self::UnknownKey => "token_unknown_key",
            Self::AmbiguousKey => "token_ambiguous_key",
            Self::Signature => "token_signature",
            Self::Audience => "token_audience",
            Self::Claim => "token_claim",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Bound => "token_bound",
            Self::Consumer => "token_consumer",
            Self::Suspended => "token_suspended",
            Self::Revoked => "token_revoked",
            Self::Inactive => "token_inactive",
        }
    }
}
