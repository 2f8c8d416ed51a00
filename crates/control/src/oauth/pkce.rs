//! PKCE (RFC 7636): S256 alone, and for every client (RFC 9700, section 2.1.1).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Refused;
use super::form::Form;

/// What an authorisation request says about it.
///
/// # Errors
/// Nothing, or a method that shows the verifier to whoever sees the request.
pub(crate) fn challenge(form: &Form) -> Result<String, Refused> {
    let Some(challenge) = form.get("code_challenge") else {
        return Err(Refused::request("code_challenge is missing: PKCE (RFC 7636) is required."));
    };
    // Left out it means `plain` (RFC 7636, section 4.3), so it is refused as well.
    if form.get("code_challenge_method") != Some("S256") {
        return Err(Refused::request("code_challenge_method must be S256."));
    }
    let is_hash = URL_SAFE_NO_PAD.decode(challenge).is_ok_and(|hash| hash.len() == 32);
    if !is_hash {
        return Err(Refused::request("code_challenge is no SHA-256 in base64url."));
    }
    Ok(challenge.to_owned())
}

/// Whether a verifier is the one that the challenge was made of.
pub(crate) fn answers(challenge: &str, verifier: Option<&str>) -> Result<(), Refused> {
    let Some(verifier) = verifier else {
        return Err(Refused::grant("code_verifier is missing."));
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(fits) {
        return Err(Refused::grant("code_verifier must be 43 to 128 letters, digits, -, ., _ and ~."));
    }
    let made = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    verify_slices_are_equal(made.as_bytes(), challenge.as_bytes())
        .map_err(|_| Refused::grant("code_verifier is not the one that the code was asked for with."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn a_request_without_s256_is_refused() {
        for (query, fits) in [
            (String::new(), false),
            (format!("code_challenge={CHALLENGE}"), false),
            (format!("code_challenge={CHALLENGE}&code_challenge_method=plain"), false),
            (format!("code_challenge={CHALLENGE}&code_challenge_method=s256"), false),
            ("code_challenge=short&code_challenge_method=S256".to_owned(), false),
            (format!("code_challenge={VERIFIER}%3D&code_challenge_method=S256"), false),
            ("code_challenge_method=S256".to_owned(), false),
            (format!("code_challenge={CHALLENGE}&code_challenge_method=S256"), true),
        ] {
            assert_eq!(challenge(&Form::parse(query.as_bytes()).unwrap()).is_ok(), fits, "{query}");
        }
    }

    /// The example of RFC 7636, appendix B.
    #[test]
    fn only_the_verifier_itself_answers() {
        let long = "a".repeat(129);
        for bad in [
            None,
            Some(""),
            Some(CHALLENGE),
            Some("short"),
            Some(&long),
            Some("dBjftJeZ4CVP mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ] {
            assert!(answers(CHALLENGE, bad).is_err(), "{bad:?}");
        }
        assert!(answers(VERIFIER, Some(VERIFIER)).is_err(), "plain");
        assert_eq!(answers(CHALLENGE, Some(VERIFIER)), Ok(()));
    }
}
