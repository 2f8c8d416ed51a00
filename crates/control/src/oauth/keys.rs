//! Signing keys: kept sealed in the catalogue, opened here, changed as [`super::schedule`] says.

use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_core::catalogue::port::{List, PAGE_MAX};
use mainstay_core::catalogue::{Actor, Change, Kind, Record, Sealed, Sealer, SigningKey, Store, StoreError};
use mainstay_identity::jwks::KeySet;
use mainstay_identity::key;
use serde_json::{Value, json};

use super::schedule::{self, Step};
use crate::token::random_bytes;

/// What verifies and what signs, as of one moment.
pub(crate) struct Keys {
    /// The published set, as `jwks.json` shows it.
    pub(crate) jwks: Value,
    /// The same, ready to verify with.
    pub(crate) set: KeySet,
    signer: Option<Signer>,
    all: Vec<SigningKey>,
}

struct Signer {
    id: String,
    pair: EcdsaKeyPair,
}

impl Keys {
    /// Signs, and says with which key.
    pub(crate) fn sign(&self, unsigned: impl FnOnce(&str) -> String) -> Option<String> {
        let signer = self.signer.as_ref()?;
        let text = unsigned(&signer.id);
        let signature = signer.pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn opened(all: Vec<SigningKey>, sealer: &dyn Sealer, now: i64) -> Result<Self, StoreError> {
        let public = |key: &SigningKey| serde_json::from_str::<Value>(&key.public_jwk).ok();
        let jwks = json!({ "keys": schedule::published(&all, now).filter_map(public).collect::<Vec<_>>() });
        let (set, _) = KeySet::parse(jwks.to_string().as_bytes())
            .map_err(|error| damaged(&format!("the set of signing keys cannot be read: {error:?}")))?;
        let signer = match schedule::signing(&all, now) {
            None => None,
            Some(key) => {
                let private = sealer.open(Kind::SigningKey, &key.id, &key.private)?;
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &private)
                    .map_err(|_| damaged("a signing key is no PKCS#8"))?;
                Some(Signer { id: key.id.clone(), pair })
            }
        };
        Ok(Self { jwks, set, signer, all })
    }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned() }
}

/// The keys of now, for whoever asks.
pub(crate) struct Keyholder {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    now: RwLock<Option<Arc<Keys>>>,
}

impl Keyholder {
    pub(crate) fn new(store: Arc<dyn Store>, sealer: Arc<dyn Sealer>) -> Self {
        Self { store, sealer, now: RwLock::new(None) }
    }

    /// `None`: they could not be read yet.
    pub(crate) fn now(&self) -> Option<Arc<Keys>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them, does what is due, and takes them over.
    pub(crate) async fn refresh(&self, now: i64) -> Result<(), StoreError> {
        let mut all = self.read().await?;
        let steps = schedule::due(&all, now);
        if !steps.is_empty() {
            for step in steps {
                self.take(step, now).await?;
            }
            all = self.read().await?;
        }
        let is_same = self.now().is_some_and(|keys| {
            let signs = keys.signer.as_ref().map(|signer| signer.id.as_str());
            keys.all == all && signs == schedule::signing(&all, now).map(|key| key.id.as_str())
        });
        if !is_same {
            let keys = Arc::new(Keys::opened(all, &*self.sealer, now)?);
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
        }
        Ok(())
    }

    async fn read(&self) -> Result<Vec<SigningKey>, StoreError> {
        let list = List { kind: Kind::SigningKey, consumer: None, after: None, limit: PAGE_MAX };
        let items = self.store.list(list).await?.items.into_iter();
        Ok(items
            .filter_map(|stored| match stored.record {
                Record::SigningKey(key) => Some(key),
                _ => None,
            })
            .collect())
    }

    async fn take(&self, step: Step, now: i64) -> Result<(), StoreError> {
        let change = match step {
            Step::Add { active_from } => Change::AddSigningKey(self.make(now, active_from)?),
            Step::Retire { id } => Change::RetireSigningKey { id, at: now },
            Step::Remove { id } => Change::RemoveSigningKey { id, at: now },
        };
        let by = Actor { id: "engine:key_rotation".to_owned(), address: None, request_id: None };
        self.store.apply(change, by, None).await.map(drop)
    }

    fn make(&self, now: i64, active_from: i64) -> Result<SigningKey, StoreError> {
        let failed = |_| StoreError::Unavailable { cause: "the machine makes no keys".to_owned() };
        let id = key::id("sk_", &random_bytes().map_err(|_| failed(aws_lc_rs::error::Unspecified))?);
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
        let private = pair.to_pkcs8v1().map_err(failed)?;
        // Uncompressed: 4, then both coordinates.
        let public = pair.public_key();
        let point = public.as_ref();
        let (x, y) = match point.split_first() {
            Some((4, coordinates)) if coordinates.len() == 64 => coordinates.split_at(32),
            _ => return Err(failed(aws_lc_rs::error::Unspecified)),
        };
        let encoded = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id, "x": encoded(x), "y": encoded(y),
        });
        let private: Sealed = self.sealer.seal(Kind::SigningKey, &id, private.as_ref())?;
        Ok(SigningKey {
            algorithm: "ES256".to_owned(),
            public_jwk: jwk.to_string(),
            private,
            created_at: now,
            active_from,
            retired_at: None,
            removed_at: None,
            id,
        })
    }
}
