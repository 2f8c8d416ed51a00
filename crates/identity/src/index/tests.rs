//! Rows of what is known and what is asked; a naive twin for any order of changes; counted steps; and the size of a
//! million keys.

mod model;
mod rows;
mod scale;

use std::sync::Arc;

use mainstay_core::catalogue::{ApiKey, Consumer, Revision, Sha256};
use mainstay_core::clock::UnixMs;
use mainstay_core::principal::Mode;

use super::*;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn hash(number: u64) -> Sha256 {
    crate::key::sha256(&number.to_be_bytes())
}

fn index() -> Index {
    Index::new(Arc::default())
}

fn as_of() -> AsOf {
    AsOf { revision: Revision(7), at: NOW }
}

fn consumer(id: &str) -> Consumer {
    Consumer {
        id: id.to_owned(),
        name: "for people".to_owned(),
        plan: Some("pro".to_owned()),
        groups: vec!["tellers".to_owned()],
        attributes: Default::default(),
        suspended: false,
        created_at: 0,
    }
}

fn api_key(number: u64, consumer: &str) -> ApiKey {
    ApiKey {
        id: crate::key::id("key_", &u128::from(number).to_be_bytes()),
        consumer: consumer.to_owned(),
        mode: Mode::Live,
        sha256: hash(number),
        scopes: vec!["payments:read".to_owned()],
        addresses: vec![],
        apis: vec![],
        created_at: 0,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    }
}
