//! Authorisation requests (RFC 6749, section 4.1.1): what is asked for, and where a refusal may be sent.
//!
//! The order is the point: until client and redirect URI are known to belong together, nothing is sent anywhere, and the
//! person is told on a page.

use mainstay_core::catalogue::OauthClient;

use super::error::{Code, Refused};
use super::form::{Form, encode};
use super::{pkce, redirect, scope};

/// The longest `state` that is carried along.
const STATE_BYTES_MAX: usize = 1024;

/// A request that may be put to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) back: Back,
    /// What the request itself said; the token request must say the same.
    pub(crate) redirect_uri_given: bool,
    pub(crate) scopes: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) challenge: String,
}

/// Where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Back {
    pub(crate) redirect_uri: String,
    state: Option<String>,
    issuer: String,
}

/// Why a request cannot be put to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Not {
    /// The person is told, and nobody else.
    Shown(&'static str),
    /// The client is told.
    Sent(Back, Refused),
}

impl Back {
    /// The URL with a code.
    pub(crate) fn with_code(&self, code: &str) -> String {
        self.with(&[("code", code)])
    }

    /// The URL with a refusal.
    pub(crate) fn with_refusal(&self, refused: &Refused) -> String {
        self.with(&[("error", refused.code.name()), ("error_description", refused.description)])
    }

    /// `iss` is in all of them (RFC 9207), so that a client of several servers knows whose answer it is.
    fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.redirect_uri.clone();
        let state = self.state.as_deref().map(|state| ("state", state));
        let issuer = ("iss", self.issuer.as_str());
        for (name, value) in parameters.iter().copied().chain(state).chain([issuer]) {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={}", encode(value)));
        }
        url
    }

    /// Scheme, host and port, for the page's policy.
    pub(crate) fn origin(&self) -> String {
        match self.redirect_uri.split_once("://") {
            Some((scheme @ ("https" | "http"), rest)) => {
                let authority = rest.split(['/', '?']).next().unwrap_or_default();
                format!("{scheme}://{authority}")
            }
            _ => format!("{}:", self.redirect_uri.split(':').next().unwrap_or_default()),
        }
    }
}

/// Reads a request of `client`, which is `None` where its id is unknown.
pub(crate) fn read(form: &Form, client: Option<&OauthClient>, issuer: &str) -> Result<Asked, Not> {
    let Some(client) = client.filter(|client| !client.disabled) else {
        return Err(Not::Shown("The application that sent you here is not known, or is disabled."));
    };
    let given = form.get("redirect_uri");
    let redirect_uri = match (given, client.redirect_uris.as_slice()) {
        (Some(asked), registered) if redirect::is_registered(registered, asked) => asked.to_owned(),
        (None, [only]) => only.clone(),
        _ => {
            return Err(Not::Shown(
                "The application that sent you here wants the answer at an address that it has not registered.",
            ));
        }
    };
    let state = form.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.len() > STATE_BYTES_MAX) {
        return Err(Not::Shown("The application that sent you here sent a state that is too long."));
    }
    let back = Back { redirect_uri, state, issuer: issuer.to_owned() };
    match judge(form, client, issuer) {
        Ok((scopes, resources, challenge)) => {
            Ok(Asked { back, redirect_uri_given: given.is_some(), scopes, resources, challenge })
        }
        Err(refused) => Err(Not::Sent(back, refused)),
    }
}

type Granted = (Vec<String>, Vec<String>, String);

fn judge(form: &Form, client: &OauthClient, issuer: &str) -> Result<Granted, Refused> {
    match form.get("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(Refused::new(Code::UnsupportedResponseType, "The only response_type is code."));
        }
        None => return Err(Refused::request("response_type is missing.")),
    }
    if form.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(Refused::request("The only response_mode is query."));
    }
    if form.get("request").is_some() || form.get("request_uri").is_some() {
        return Err(Refused::request("Request objects are not supported."));
    }
    if !client.grants.iter().any(|grant| grant == "authorization_code") {
        return Err(Refused::new(Code::UnauthorizedClient, "The client may not use authorization_code."));
    }
    let challenge = pkce::challenge(form)?;
    let scopes = scope::narrow(form.get("scope"), &client.scopes)?;
    let resources = scope::resources(form.all("resource"), issuer, &[])?;
    Ok((scopes, resources, challenge))
}

#[cfg(test)]
mod tests {
    use mainstay_core::catalogue::ClientKind;
    use mainstay_core::principal::Mode;

    use super::*;

    const ISSUER: &str = "https://api.example.com";
    const PKCE: &str =
        "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";

    fn client(uris: &[&str]) -> OauthClient {
        OauthClient {
            id: "client_a".to_owned(),
            name: "A".to_owned(),
            kind: ClientKind::Public,
            consumer: None,
            redirect_uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
            scopes: vec!["read".to_owned()],
            grants: vec!["authorization_code".to_owned()],
            secret_sha256: None,
            jwks: None,
            mode: Mode::Live,
            disabled: false,
            created_at: 0,
        }
    }

    fn asked(query: &str, client: Option<&OauthClient>) -> Result<Asked, Not> {
        read(&Form::parse(query.as_bytes()).unwrap(), client, ISSUER)
    }

    #[test]
    fn nothing_is_sent_to_an_address_that_is_not_registered() {
        let known = client(&["https://a.example/cb"]);
        let two = client(&["https://a.example/cb", "https://a.example/cb2"]);
        let disabled = OauthClient { disabled: true, ..known.clone() };
        for (query, client) in [
            ("response_type=code", None),
            ("response_type=code", Some(&disabled)),
            ("response_type=code", Some(&two)),
            ("response_type=code&redirect_uri=https%3A%2F%2Fevil.example%2F", Some(&known)),
            ("response_type=code&redirect_uri=https%3A%2F%2Fa.example%2Fcb%2F", Some(&known)),
            ("response_type=code&redirect_uri=https%3A%2F%2Fa.example%2Fcb%3Fx", Some(&known)),
        ] {
            assert!(matches!(asked(query, client), Err(Not::Shown(_))), "{query}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_to_the_client() {
        let known = client(&["https://a.example/cb?t=1"]);
        for (query, code) in [
            (PKCE.to_owned(), "invalid_request"),
            (format!("response_type=token&{PKCE}"), "unsupported_response_type"),
            (format!("response_type=code+token&{PKCE}"), "unsupported_response_type"),
            ("response_type=code".to_owned(), "invalid_request"),
            (format!("response_type=code&response_mode=fragment&{PKCE}"), "invalid_request"),
            (format!("response_type=code&request=x&{PKCE}"), "invalid_request"),
            (format!("response_type=code&scope=read+write&{PKCE}"), "invalid_scope"),
            (format!("response_type=code&resource=https%3A%2F%2Fb.example&{PKCE}"), "invalid_target"),
        ] {
            let Err(Not::Sent(back, refused)) = asked(&format!("{query}&state=s%26t"), Some(&known)) else {
                panic!("{query}");
            };
            assert_eq!(refused.code.name(), code, "{query}");
            let url = back.with_refusal(&refused);
            assert!(
                url.starts_with(&format!("https://a.example/cb?t=1&error={code}&error_description=")),
                "{url}"
            );
            assert!(url.ends_with("&state=s%26t&iss=https%3A%2F%2Fapi.example.com"), "{url}");
        }
        let other = OauthClient { grants: vec!["client_credentials".into()], ..known.clone() };
        let Err(Not::Sent(_, refused)) = asked(&format!("response_type=code&{PKCE}"), Some(&other)) else {
            panic!("it may not");
        };
        assert_eq!(refused.code, Code::UnauthorizedClient);
        let good = asked(&format!("response_type=code&{PKCE}"), Some(&known)).unwrap();
        assert_eq!((good.scopes, good.redirect_uri_given), (vec!["read".to_owned()], false));
        assert_eq!(good.back.origin(), "https://a.example");
        assert_eq!(
            good.back.with_code("c"),
            "https://a.example/cb?t=1&code=c&iss=https%3A%2F%2Fapi.example.com"
        );
    }
}
