//! What the endpoints share, and which of them there are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, Method};
use mainstay_core::catalogue::{Kind, OauthClient, Record, Sealer, Store, StoreError, User};
use mainstay_core::clock::{Clock, MonoMs, monotonic};
use mainstay_core::random::Random;
use mainstay_identity::key;
use mainstay_telemetry::{Event, EventLog, Registry};

use super::attempts::{Attempt, Attempts};
use super::client::{self, Presented};
use super::error::Refused;
use super::form::Form;
use super::keys::{Keyholder, Keys};
use super::{introspect, metadata, pages, revoke, token};
use crate::password::Hasher;
use crate::token::random_bytes;

/// The header in which the data plane says who the client is; it takes away what a client sends under this name.
const CLIENT: &str = "x-mainstay-client";
/// How often signing keys are looked at.
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// The same, while they cannot be read.
const KEYS_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// `auth.oauth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `iss`, without a trailing slash.
    pub issuer: String,
    /// The path in it, without a trailing slash.
    pub path: String,
    /// How long an access token is good.
    pub access_token: Duration,
    /// How long a refresh token is good that nobody uses.
    pub refresh_token: Duration,
}

impl Settings {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// The browser speaks TLS to us.
    pub(crate) fn is_secure(&self) -> bool {
        self.issuer.starts_with("https://")
    }
}

/// What a server is made of.
pub struct Parts {
    /// `auth.oauth`.
    pub settings: Settings,
    /// Clients, users, keys, codes and refresh tokens.
    pub store: Arc<dyn Store>,
    /// Opens the signing keys.
    pub sealer: Arc<dyn Sealer>,
    /// The date.
    pub clock: Clock,
    /// Where it is told when keys cannot be read.
    pub events: EventLog,
}

/// The authorisation server. Clones are the same one.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) hasher: Hasher,
    pub(crate) attempts: Attempts,
    keys: Keyholder,
    events: EventLog,
    began: std::time::Instant,
    /// Tokens by grant and result. Both are names of ours, so there are few.
    issued: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Server {
    /// Not serving yet: [`Server::keep`] reads the keys, [`Server::router`] answers.
    pub fn new(parts: Parts) -> Self {
        let Parts { settings, store, sealer, clock, events } = parts;
        let random = Random::from_os();
        Self(Arc::new(Shared {
            settings,
            keys: Keyholder::new(Arc::clone(&store), sealer),
            store,
            clock,
            hasher: Hasher::new(),
            attempts: Attempts::new([random.bits(), random.bits()]),
            events,
            began: monotonic(),
            issued: Mutex::default(),
        }))
    }

    /// Reads the signing keys once, and makes what is missing.
    ///
    /// # Errors
    /// The store cannot be asked, or a key cannot be opened.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        self.0.keys.refresh(self.0.clock.now().0).await
    }

    /// Changes signing keys when it is time, for as long as somebody else has the server.
    pub async fn keep(self) {
        let shared = Arc::downgrade(&self.0);
        drop(self);
        let mut failing = false;
        loop {
            let Some(server) = shared.upgrade() else { return };
            let refreshed = server.keys.refresh(server.clock.now().0).await;
            match &refreshed {
                Ok(()) => failing = false,
                Err(error) if !std::mem::replace(&mut failing, true) => {
                    server.events.emit(&Event::SigningKeysFailed { cause: &error.to_string() });
                }
                Err(_) => {}
            }
            drop(server);
            tokio::time::sleep(if refreshed.is_ok() { KEYS_EVERY } else { KEYS_AGAIN_AFTER }).await;
        }
    }

    /// Shows in each scrape how many tokens were given out and refused.
    pub fn observe(&self, registry: &Registry) {
        registry.observe_while(Arc::downgrade(&self.0), |server, scrape| {
            let issued = server.issued.lock().unwrap_or_else(PoisonError::into_inner);
            let help = "Requests for tokens, by grant and by how they ended: issued, or the error's name.";
            for ((grant, result), count) in &*issued {
                let labels = [("grant", *grant), ("result", *result)];
                scrape.counter("mainstay_oauth_token_requests_total", help, &labels, *count);
            }
        });
    }

    /// Everything under the issuer.
    pub fn router(&self) -> Router {
        let path = |rest: &str| format!("{}{rest}", self.0.settings.path);
        // RFC 8414, section 3.1: an issuer's path comes after the well-known one.
        let well_known = format!("/.well-known/oauth-authorization-server{}", self.0.settings.path);
        Router::new()
            .route(&well_known, get(metadata::metadata))
            .route(&path("/oauth/jwks.json"), get(metadata::jwks))
            .route(&path("/oauth/token"), post(token::token))
            .route(&path("/oauth/revoke"), post(revoke::revoke))
            .route(&path("/oauth/introspect"), post(introspect::introspect))
            .route(&path("/oauth/authorize"), get(pages::show).post(pages::answer))
            .with_state(self.clone())
    }
}

impl Shared {
    pub(crate) fn keys(&self) -> Result<Arc<Keys>, Refused> {
        // Not read yet, so nobody knows what they are: the store has to come first.
        self.keys.now().ok_or_else(|| StoreError::Unavailable { cause: String::new() }.into())
    }

    pub(crate) fn mono(&self) -> MonoMs {
        MonoMs(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn count(&self, grant: &'static str, result: &'static str) {
        *self.issued.lock().unwrap_or_else(PoisonError::into_inner).entry((grant, result)).or_default() += 1;
    }

    pub(crate) async fn client(&self, id: &str) -> Result<Option<OauthClient>, Refused> {
        if id.is_empty() || id.len() > 64 {
            return Ok(None);
        }
        match self.store.get(Kind::Client, id).await {
            Ok(stored) => Ok(match stored.record {
                Record::Client(client) => Some(client),
                _ => None,
            }),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Disabled or not.
    pub(crate) async fn user(&self, name: &str) -> Result<Option<User>, Refused> {
        if name.is_empty() || name.len() > 128 {
            return Ok(None);
        }
        match self.store.get(Kind::User, name).await {
            Ok(stored) => Ok(match stored.record {
                Record::User(user) => Some(user),
                _ => None,
            }),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether what tokens of this client act for is still there and not suspended.
    pub(crate) async fn consumer_may(&self, client: &OauthClient) -> Result<bool, Refused> {
        let Some(id) = client.consumer.as_deref() else { return Ok(true) };
        match self.store.get(Kind::Consumer, id).await {
            Ok(stored) => Ok(matches!(stored.record, Record::Consumer(consumer) if !consumer.suspended)),
            // It may stand in the configuration, which only the data plane knows; it looks at it for every token.
            Err(StoreError::NotFound { .. }) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Which client asks. What is wrong is counted, and after too much of it nothing is looked at.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        form: &Form,
    ) -> Result<OauthClient, Refused> {
        let presented = client::read(headers, form)?;
        let (address, attempt) = (address(headers), Attempt::Client(presented.id()));
        let now = self.mono();
        self.attempts.check(address, attempt, now)?;
        let found = self.client(presented.id()).await?;
        let audiences = [self.settings.issuer.clone(), self.settings.url("/oauth/token")];
        let checked = client::check(&presented, found.as_ref(), &audiences, self.clock.now());
        let is_first = match &checked {
            Ok(Some(once)) => self.store.first_use(&once.id, once.expires_at).await?,
            Ok(None) => true,
            Err(_) => false,
        };
        match (checked, found) {
            (Ok(_), Some(client)) if is_first => Ok(client),
            (checked, _) => {
                if !matches!(presented, Presented::Nothing { .. }) {
                    self.attempts.failed(address, attempt, now);
                }
                Err(checked.err().unwrap_or_else(client::not_accepted))
            }
        }
    }
}

/// Who asks, as the data plane knows it. Over a unix socket nobody has an address, and all are one.
pub(crate) fn address(headers: &HeaderMap) -> IpAddr {
    let said = headers.get(CLIENT).and_then(|value| value.to_str().ok());
    said.and_then(|text| text.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// The form in a request's body.
pub(crate) fn form(headers: &HeaderMap, body: &Bytes) -> Result<Form, Refused> {
    let is_form = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    if !is_form {
        return Err(Refused::request("The body must be application/x-www-form-urlencoded."));
    }
    Form::parse(body)
}

/// A secret of 256 random bits with a telling beginning.
pub(crate) fn secret(beginning: &str) -> Result<String, Refused> {
    Ok(random_id(beginning)? + &random_id("")?)
}

/// An id of 128 random bits with a telling beginning.
pub(crate) fn random_id(beginning: &str) -> Result<String, Refused> {
    random_bytes().map(|bytes| key::id(beginning, &bytes)).map_err(|_| Refused::internal())
}

/// Makes a refusal an answer.
pub(crate) fn answered(result: Result<Response, Refused>) -> Response {
    result.unwrap_or_else(|refused| refused.answer())
}

/// The methods and paths that a server under this path has, for whoever mounts it.
pub fn routes(path: &str) -> Vec<(Method, String)> {
    let at = |rest: &str| format!("{path}{rest}");
    vec![
        (Method::GET, format!("/.well-known/oauth-authorization-server{path}")),
        (Method::GET, at("/oauth/jwks.json")),
        (Method::POST, at("/oauth/token")),
        (Method::POST, at("/oauth/revoke")),
        (Method::POST, at("/oauth/introspect")),
        (Method::GET, at("/oauth/authorize")),
        (Method::POST, at("/oauth/authorize")),
    ]
}
