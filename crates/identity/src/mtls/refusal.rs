//! Why a client certificate is not accepted.

use mainstay_core::problem::ProblemCode;

/// Why a client certificate is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// It cannot be read.
    Malformed,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It is not for clients.
    Usage,
    /// Its issuer has taken it back.
    Revoked,
    /// Nobody is known by it.
    Unknown,
    /// Its consumer is suspended.
    Suspended,
}

impl CertificateRefusal {
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
            Self::Malformed => "The client certificate cannot be read.",
            Self::Expired => "The client certificate has expired.",
            Self::NotYetValid => "The client certificate is not valid yet.",
            Self::Usage => "The certificate is not one for clients.",
            Self::Revoked => "The client certificate was revoked.",
            Self::Unknown => "No consumer is known by this client certificate.",
            Self::Suspended => "The consumer of this client certificate is suspended.",
        }
    }

    /// One word for the trail and for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "certificate_malformed",
            Self::Expired => "certificate_expired",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Usage => "certificate_usage",
            Self::Revoked => "certificate_revoked",
            Self::Unknown => "certificate_unknown",
            Self::Suspended => "certificate_suspended",
        }
    }
}
