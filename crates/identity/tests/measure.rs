//! What identity costs: bytes of a million keys, time to load them, time of a lookup, of a first verification and of a
//! cached token. Printed, not compared: machines differ. The bounds that do not depend on the machine are asserted.
//!
//! `cargo test --release -p mainstay-identity --test measure -- --ignored --nocapture --test-threads 1`
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mainstay_core::catalogue::{ApiKey, Consumer, Revision, Sha256};
use mainstay_core::clock::{UnixMs, monotonic};
use mainstay_core::principal::Mode;
use mainstay_identity::cache::{CachePlan, Epoch, TokenCache};
use mainstay_identity::index::{AsOf, Change, Index, Loader};
use mainstay_identity::jwks::KeySet;
use mainstay_identity::jwt::{Algorithm, IssuerPlan, Issuers, Subject, TypeRule, prepare};
use mainstay_identity::key;

/// Bytes that are allocated now, as asked for.
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: UnixMs = UnixMs(1_800_000_000_000);
const CONSUMERS: u64 = 1000;

fn hash(number: u64) -> Sha256 {
    key::sha256(&number.to_be_bytes())
}

fn load(keys: u64) -> Index {
    let mut loader = Loader::new(Index::new(Arc::default()));
    let mut consumer = Consumer {
        id: String::new(),
        name: String::new(),
        plan: Some("pro".to_owned()),
        groups: vec!["partners".to_owned()],
        attributes: Default::default(),
        suspended: false,
        created_at: 0,
    };
    for number in 0..CONSUMERS {
        consumer.id = format!("consumer-{number}");
        loader.apply(Change::Consumer(&consumer));
    }
    for number in 0..keys {
        loader.apply(Change::Key(&ApiKey {
            id: key::id("key_", &u128::from(number).to_be_bytes()),
            consumer: format!("consumer-{}", number % CONSUMERS),
            mode: Mode::Live,
            sha256: hash(number),
            scopes: vec!["payments:read".to_owned(), format!("scope{}", number % 50)],
            addresses: if number % 4 == 0 { vec![format!("10.{}.0.0/16", number % 200)] } else { vec![] },
            apis: vec![],
            created_at: 0,
            expires_at: Some(i64::MAX),
            revoked_at: None,
            last_used_at: None,
        }));
    }
    loader.finish(AsOf { revision: Revision(1), at: NOW })
}

fn per_call(times: u32, mut call: impl FnMut()) -> Duration {
    // The best of several runs: what others do on the machine only ever adds.
    let mut best = Duration::MAX;
    for _ in 0..7 {
        let begin = monotonic();
        for _ in 0..times {
            call();
        }
        best = best.min(begin.elapsed() / times);
    }
    best
}

#[test]
#[ignore = "long: loads a million keys, and measures"]
fn a_million_keys() {
    let before = BYTES.load(Ordering::Relaxed);
    let begin = monotonic();
    let index = load(1_000_000);
    let took = begin.elapsed();
    let bytes = BYTES.load(Ordering::Relaxed) - before;
    println!("a million keys: {} bytes each, loaded in {took:?}", bytes / 1_000_000);
    assert!(bytes / 1_000_000 < 250, "{bytes} bytes");
    let small = load(10);
    for (what, index, keys) in [("ten", &small, 10), ("a million", &index, 1_000_000)] {
        // A thousand of them, so that the processor's caches hold what they would of a worker's hot keys.
        let hashes: Vec<_> = (0..1000).map(|n| hash(n * 7919 % keys)).collect();
        let mut at = 0;
        let hit = per_call(100_000, || {
            at = (at + 1) % hashes.len();
            black_box(index.lookup_key(&hashes[at], NOW).is_ok());
        });
        let texts: Vec<_> =
            (0..1000_u64).map(|n| key::ApiKeyText::generate(&hash(n).0, Mode::Live)).collect();
        let miss = per_call(100_000, || {
            at = (at + 1) % texts.len();
            black_box(index.authenticate(texts[at].reveal().as_bytes(), NOW).is_err());
        });
        println!("{what} keys: lookup {hit:?}, a text that is nobody's {miss:?}");
    }
    let begin = monotonic();
    index.apply(Change::KeyGone(&key::id("key_", &5_u128.to_be_bytes())));
    println!("a change among a million: {:?}", begin.elapsed());
    let begin = monotonic();
    assert_eq!(index.drain_last_used(10), []);
    println!("a drain among a million: {:?}", begin.elapsed());
}

/// For an instruction counter: `MEASURE_KEYS` keys, `MEASURE_LOOKUPS` lookups.
#[test]
#[ignore = "for an instruction counter"]
fn lookups() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (keys, lookups) = (number("MEASURE_KEYS").unwrap_or(10), number("MEASURE_LOOKUPS").unwrap_or(0));
    let index = load(keys);
    let hashes: Vec<_> = (0..lookups).map(|n| hash(n * 7919 % keys)).collect();
    // Hashes are made for no lookup too, so that the difference of two runs is lookups alone.
    black_box((0..1_000_000 - lookups).map(|n| hash(n * 7919 % keys)).fold(0, |sum, it| sum ^ it.0[0]));
    for hash in &hashes {
        assert!(black_box(index.lookup_key(hash, NOW)).is_ok());
    }
}

#[test]
#[ignore = "measures"]
fn tokens() {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = rsa.public_key();
    let jwks = format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"a","n":"{}","e":"{}"}}]}}"#,
        b64(public.modulus().big_endian_without_leading_zero()),
        b64(public.exponent().big_endian_without_leading_zero()),
    );
    let (keys, _) = KeySet::parse(jwks.as_bytes()).unwrap();
    let claims = format!(
        r#"{{"iss":"https://id.example.com","aud":"payments","client_id":"consumer-1","sub":"consumer-1",
        "iat":1799999000,"exp":1800000600,"scope":"payments:read","jti":"{}"}}"#,
        "x".repeat(200),
    );
    let signed = format!("{}.{}", b64(br#"{"alg":"RS256","typ":"JWT","kid":"a"}"#), b64(claims.as_bytes()));
    let mut signature = vec![0; rsa.public_modulus_len()];
    rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    let token = format!("{signed}.{}", b64(&signature));
    let index = load(10);
    let issuers = Issuers::new(vec![IssuerPlan {
        issuer: "https://id.example.com".into(),
        audiences: vec!["payments".into()],
        algorithms: vec![Algorithm::Rs256],
        clock_skew_ms: 30_000,
        types: TypeRule::Any,
        subject: Subject::Claims {
            consumer_claim: "client_id".into(),
            plan_claim: None,
            mode_claim: None,
            is_known_only: true,
        },
    }]);
    println!("a token of {} bytes", token.len());
    let prepared = per_call(10_000, || {
        black_box(prepare(token.as_bytes(), &issuers, NOW).is_ok());
    });
    println!("everything before the signature: {prepared:?}");
    let first = per_call(3_000, || {
        let prepared = prepare(token.as_bytes(), &issuers, NOW).unwrap();
        black_box(prepared.verify(&keys, &index)).unwrap();
    });
    println!("a first RS256 verification: {first:?}");
    let mut cache = TokenCache::new(CachePlan::default(), [3, 4]);
    let verified = prepare(token.as_bytes(), &issuers, NOW).unwrap().verify(&keys, &index);
    let epoch = Epoch { index: index.generation(), scopes: index.scope_names().len(), config: 1 };
    cache.put(&key::sha256(token.as_bytes()), epoch, Some((0, 1)), &verified, NOW);
    let padded = token.clone() + &"A".repeat(1024_usize.saturating_sub(token.len()));
    cache.put(&key::sha256(padded.as_bytes()), epoch, Some((0, 1)), &verified, NOW);
    for token in [&token, &padded] {
        let cached = per_call(100_000, || {
            let epoch = Epoch { index: index.generation(), scopes: 2, config: 1 };
            let epoch = Epoch { scopes: epoch.scopes.max(index.scope_names().len()), ..epoch };
            let hash = key::sha256(black_box(token).as_bytes());
            black_box(cache.get(&hash, &epoch, |_| 1, NOW)).unwrap().unwrap();
        });
        println!("a cached token of {} bytes: {cached:?}", token.len());
    }
    let texts = key::ApiKeyText::generate(&[7; 32], Mode::Live);
    let hashed = per_call(100_000, || {
        black_box(key::sha256(black_box(texts.reveal()).as_bytes()));
    });
    println!("SHA-256 of a key: {hashed:?}");
}
