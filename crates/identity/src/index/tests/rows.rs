use mainstay_core::catalogue::{ClientKind, OauthClient, Sealed, SigningKey, User};
use mainstay_core::scopes::{SCOPE_NAMES_MAX, ScopeNames};

use super::super::lookup::{Step, Watch};
use super::*;
use crate::key::ApiKeyText;
use crate::refusal::KeyRefusal;

#[test]
fn why_a_key_is_not_accepted() {
    let index = index();
    let mut suspended = consumer("suspended");
    suspended.suspended = true;
    index.apply(Change::Consumer(&consumer("acme")));
    index.apply(Change::Consumer(&suspended));
    let expires = |at: i64| ApiKey { expires_at: Some(at), ..api_key(0, "acme") };
    let revoked = |at: i64| ApiKey { revoked_at: Some(at), ..api_key(0, "acme") };
    let both = ApiKey { expires_at: Some(0), ..revoked(0) };
    for (what, record, expected) in [
        ("good", api_key(0, "acme"), Ok(())),
        ("not yet expired", expires(NOW.0 + 1), Ok(())),
        ("expires now", expires(NOW.0), Err(KeyRefusal::Expired)),
        ("expired", expires(NOW.0 - 1), Err(KeyRefusal::Expired)),
        ("revoked a second ago", revoked(NOW.0 - 1000), Err(KeyRefusal::Revoked)),
        ("revoked by a node whose clock is ahead", revoked(NOW.0 + 60_000), Err(KeyRefusal::Revoked)),
        ("revoked and expired", both, Err(KeyRefusal::Revoked)),
        ("of a suspended consumer", api_key(0, "suspended"), Err(KeyRefusal::Suspended)),
        ("of nobody", api_key(0, "nobody"), Err(KeyRefusal::Unknown)),
    ] {
        index.apply(Change::Key(&record));
        assert_eq!(index.lookup_key(&hash(0), NOW).map(|_| ()), expected, "{what}");
    }
    assert_eq!(index.lookup_key(&hash(1), NOW).map(|_| ()), Err(KeyRefusal::Unknown));
    // The hash that the record has which stands for nobody.
    assert_eq!(index.lookup_key(&Sha256([0; 32]), NOW).map(|_| ()), Err(KeyRefusal::Unknown));
}

#[test]
fn what_a_caller_is() {
    let index = index();
    index.apply(Change::Consumer(&consumer("acme")));
    let record = ApiKey { mode: Mode::Test, expires_at: Some(NOW.0 + 5), ..api_key(0, "acme") };
    index.apply(Change::Key(&record));
    let found = index.lookup_key(&hash(0), NOW).unwrap();
    let caller = found.caller();
    assert_eq!(caller.consumer.as_deref(), Some("acme"));
    assert_eq!(caller.plan.as_deref(), Some("pro"));
    assert_eq!(*caller.groups, ["tellers".into()]);
    assert_eq!(caller.key_id.as_deref(), Some(record.id.as_str()));
    assert_eq!(caller.mode, Mode::Test);
    assert_eq!(index.scope_names().names(&caller.scopes), ["payments:read".into()]);
    assert_eq!(found.expires_at(), Some(UnixMs(NOW.0 + 5)));
}

#[test]
fn restrictions_have_reasons() {
    let index = index();
    index.apply(Change::Consumer(&consumer("acme")));
    let address = |text: &str| Some(text.parse().unwrap());
    for (networks, apis, client, expected) in [
        (vec![], vec![], None, Ok(())),
        (vec!["192.0.2.0/24"], vec![], address("192.0.2.200"), Ok(())),
        (vec!["192.0.2.0/24"], vec![], address("::ffff:192.0.2.200"), Ok(())),
        (vec!["192.0.2.0/24"], vec![], address("192.0.3.1"), Err(KeyRefusal::Address)),
        (vec!["192.0.2.0/24"], vec![], None, Err(KeyRefusal::Address)),
        (vec!["192.0.2.7"], vec![], address("192.0.2.7"), Ok(())),
        (vec!["192.0.2.7"], vec![], address("192.0.2.8"), Err(KeyRefusal::Address)),
        (vec!["0.0.0.0/0"], vec![], address("10.0.0.1"), Ok(())),
        (vec!["0.0.0.0/0"], vec![], address("2001:db8::1"), Err(KeyRefusal::Address)),
        (vec!["::/0"], vec![], address("2001:db8::1"), Ok(())),
        (vec!["2001:db8::/32"], vec![], address("2001:db9::1"), Err(KeyRefusal::Address)),
        // What cannot be read still restricts.
        (vec!["nonsense"], vec![], address("192.0.2.7"), Err(KeyRefusal::Address)),
        (vec!["192.0.2.0/33", "192.0.2.0/+8"], vec![], address("192.0.2.7"), Err(KeyRefusal::Address)),
        (vec![], vec!["payments"], None, Ok(())),
        (vec![], vec!["payment"], None, Err(KeyRefusal::Api)),
        (vec!["10.0.0.0/8"], vec!["rates"], address("192.0.2.7"), Err(KeyRefusal::Address)),
    ] {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let record = ApiKey { addresses: texts(&networks), apis: texts(&apis), ..api_key(0, "acme") };
        index.apply(Change::Key(&record));
        let found = index.lookup_key(&hash(0), NOW).unwrap();
        assert_eq!(found.check(client, "payments"), expected, "{networks:?} {apis:?} {client:?}");
    }
}

/// A lookup's steps, in order.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Watch for Steps {
    fn step(&mut self, step: Step) {
        self.0.push(step);
    }
}

#[test]
fn every_refusal_takes_the_same_steps() {
    let index = index();
    index.apply(Change::Consumer(&consumer("acme")));
    index.apply(Change::Consumer(&Consumer { suspended: true, ..consumer("suspended") }));
    let text = |byte: u8| ApiKeyText::generate(&[byte; 32], Mode::Live);
    let record = |byte: u8, consumer: &str| ApiKey {
        sha256: text(byte).sha256(),
        ..api_key(u64::from(byte), consumer)
    };
    index.apply(Change::Key(&record(0, "acme")));
    index.apply(Change::Key(&ApiKey { revoked_at: Some(0), ..record(1, "acme") }));
    index.apply(Change::Key(&ApiKey { expires_at: Some(0), ..record(2, "acme") }));
    index.apply(Change::Key(&record(3, "suspended")));
    index.apply(Change::Key(&record(4, "nobody")));
    let plain = |byte: u8| text(byte).reveal().as_bytes().to_vec();
    let mut wrong = plain(0);
    wrong[30] = if wrong[30] == b'0' { b'1' } else { b'0' };
    let look_alike = text(0).reveal().replacen('0', "\u{ff10}", 1).into_bytes();
    let mut spaced = plain(0);
    spaced.push(b' ');
    for (what, text, expected) in [
        ("good", plain(0), Ok(())),
        ("revoked", plain(1), Err(KeyRefusal::Revoked)),
        ("expired", plain(2), Err(KeyRefusal::Expired)),
        ("suspended", plain(3), Err(KeyRefusal::Suspended)),
        ("without a consumer", plain(4), Err(KeyRefusal::Unknown)),
        ("unknown", plain(9), Err(KeyRefusal::Unknown)),
        ("not ours", b"whatever".to_vec(), Err(KeyRefusal::Unknown)),
        ("empty", Vec::new(), Err(KeyRefusal::Unknown)),
        ("case-folded, upper", plain(0).to_ascii_uppercase(), Err(KeyRefusal::Unknown)),
        ("case-folded, lower", plain(0).to_ascii_lowercase(), Err(KeyRefusal::WrongChecksum)),
        ("a digit changed", wrong, Err(KeyRefusal::WrongChecksum)),
        ("a prefix of a good one", plain(0)[..40].to_vec(), Err(KeyRefusal::Malformed)),
        ("a space behind it", spaced, Err(KeyRefusal::Malformed)),
        ("a look-alike", look_alike, Err(KeyRefusal::Malformed)),
    ] {
        let mut steps = Steps::default();
        let found = index.authenticate_watched(&text, NOW, &mut steps);
        assert_eq!(found.map(|_| ()), expected, "{what}");
        use Step::{Compare, Hash, Judge, ReadConsumer, ReadForm, Search};
        assert_eq!(steps.0, [ReadForm, Hash, Search, Compare, ReadConsumer, Judge], "{what}");
    }
}

#[test]
fn the_generation_changes_with_what_matters_and_with_nothing_else() {
    let index = index();
    let moves = |what: &str, change: Change<'_>, expected: bool| {
        let before = index.generation();
        index.apply(change);
        assert_eq!(index.generation() != before, expected, "{what}");
    };
    let acme = consumer("acme");
    let record = api_key(0, "acme");
    moves("a consumer comes", Change::Consumer(&acme), true);
    moves("the same again", Change::Consumer(&acme), false);
    moves("its name changes", Change::Consumer(&Consumer { name: "x".into(), ..acme.clone() }), false);
    moves("a key comes", Change::Key(&record), true);
    moves("the same again", Change::Key(&record), false);
    moves("it was used", Change::Key(&ApiKey { last_used_at: Some(NOW.0), ..record.clone() }), false);
    let before = index.lookup_key(&hash(0), NOW).unwrap().caller().generation;
    moves("another key", Change::Key(&api_key(1, "acme")), true);
    assert_eq!(index.lookup_key(&hash(0), NOW).unwrap().caller().generation, before, "not its own change");
    moves("another plan", Change::Consumer(&Consumer { plan: None, ..acme.clone() }), true);
    assert!(index.lookup_key(&hash(0), NOW).unwrap().caller().generation > before);
    let before = index.lookup_key(&hash(0), NOW).unwrap().caller().generation;
    moves("fewer scopes", Change::Key(&ApiKey { scopes: vec![], ..record.clone() }), true);
    assert!(index.lookup_key(&hash(0), NOW).unwrap().caller().generation > before);
    moves("it is revoked", Change::Key(&ApiKey { revoked_at: Some(1), ..record.clone() }), true);
    moves("it goes", Change::KeyGone(&record.id), true);
    moves("it is gone", Change::KeyGone(&record.id), false);
    moves("the consumer goes", Change::ConsumerGone("acme"), true);
    moves("it is gone", Change::ConsumerGone("nobody"), false);
}

#[test]
fn the_file_lies_under_the_catalogue() {
    let index = index();
    let of_file = |plan: &str| Consumer { plan: Some(plan.to_owned()), ..consumer("acme") };
    let good = |index: &Index| {
        index.lookup_key(&hash(0), NOW).map(|f| f.caller().plan.as_deref().map(str::to_owned))
    };
    let plan = |plan: &str| Ok(Some(plan.to_owned()));
    let file_key = ApiKey { id: "from_file".to_owned(), ..api_key(0, "acme") };
    index.set_file(&[of_file("file")], std::slice::from_ref(&file_key));
    assert_eq!(good(&index), plan("file"));

    index.apply(Change::Consumer(&consumer("acme")));
    assert_eq!(good(&index), plan("pro"), "the catalogue's consumer wins");
    let revoked = ApiKey { revoked_at: Some(1), ..api_key(0, "acme") };
    index.apply(Change::Key(&revoked));
    assert_eq!(good(&index), Err(KeyRefusal::Revoked));
    index.set_file(&[of_file("other")], std::slice::from_ref(&file_key));
    assert_eq!(good(&index), Err(KeyRefusal::Revoked), "whatever a file says");

    index.apply(Change::KeyGone(&revoked.id));
    assert_eq!(good(&index), plan("pro"), "what was hidden comes forth");
    index.apply(Change::ConsumerGone("acme"));
    assert_eq!(good(&index), plan("other"));
    index.set_file(&[], &[file_key]);
    assert_eq!(good(&index), Err(KeyRefusal::Unknown), "the file no longer has the consumer");
    index.set_file(&[], &[]);
    assert_eq!(index.sizes(), Sizes::default());

    // The catalogue came first.
    index.apply(Change::Key(&revoked));
    index.set_file(&[of_file("file")], &[api_key(0, "acme")]);
    assert_eq!(good(&index), Err(KeyRefusal::Revoked));
    index.set_file(&[of_file("file")], &[]);
    assert_eq!(good(&index), Err(KeyRefusal::Revoked));
}

#[test]
fn last_use_is_recorded_to_the_minute_and_drained_once() {
    let index = index();
    index.apply(Change::Consumer(&consumer("acme")));
    let record = ApiKey { last_used_at: Some(NOW.0 - 120_000), ..api_key(0, "acme") };
    index.apply(Change::Key(&record));
    index.apply(Change::Key(&api_key(1, "acme")));
    assert_eq!(index.drain_last_used(9), [], "the store has it already");
    let found = index.lookup_key(&hash(0), NOW).unwrap();
    found.touch(NOW);
    found.touch(UnixMs(NOW.0 - 300_000));
    let minute = UnixMs(NOW.0 / 60_000 * 60_000);
    assert_eq!(index.last_used(&hash(0)), Some(minute));
    assert_eq!(index.last_used(&hash(1)), None);
    // The record is replaced: what was seen stays seen.
    index.apply(Change::Key(&ApiKey { scopes: vec![], ..record.clone() }));
    assert_eq!(index.drain_last_used(9), [(record.id.clone(), minute)]);
    assert_eq!(index.drain_last_used(9), []);
    let found = index.lookup_key(&hash(0), NOW).unwrap();
    found.touch(UnixMs(NOW.0 + 30_000));
    found.touch(UnixMs(NOW.0 + 60_000));
    index.lookup_key(&hash(1), NOW).unwrap().touch(NOW);
    assert_eq!(index.drain_last_used(1).len(), 1);
    assert_eq!(index.drain_last_used(1).len(), 1, "the rest comes with the next call");
    assert_eq!(index.drain_last_used(1), []);
}

#[test]
fn a_table_without_numbers_left_gives_fewer_scopes_never_more() {
    let names = Arc::new(ScopeNames::default());
    let many: Vec<String> = (0..SCOPE_NAMES_MAX).map(|n| n.to_string()).collect();
    names.give(many.iter().map(String::as_str)).unwrap();
    let index = Index::new(Arc::clone(&names));
    index.apply(Change::Consumer(&consumer("acme")));
    let scopes = vec!["7".to_owned(), "one more".to_owned()];
    let notes = index.apply(Change::Key(&ApiKey { scopes, ..api_key(0, "acme") }));
    assert_eq!(notes, Notes { scopes_left_out: 1, unreadable_addresses: 0 });
    let found = index.lookup_key(&hash(0), NOW).unwrap();
    assert_eq!(names.names(&found.caller().scopes), ["7".into()]);
}

#[test]
fn clients_users_and_signing_keys_come_and_go() {
    let index = index();
    let client = OauthClient {
        id: "client_1".to_owned(),
        name: String::new(),
        kind: ClientKind::Confidential,
        consumer: Some("acme".to_owned()),
        redirect_uris: vec![],
        scopes: vec!["a".to_owned()],
        grants: vec![],
        secret_sha256: None,
        jwks: None,
        mode: Mode::Live,
        disabled: false,
        created_at: 0,
    };
    let user = User {
        name: "alice".to_owned(),
        password_hash: "$argon2id$".to_owned(),
        groups: vec!["tellers".to_owned()],
        attributes: Default::default(),
        disabled: false,
        created_at: 0,
    };
    let signing = SigningKey {
        id: "k1".to_owned(),
        algorithm: "ES256".to_owned(),
        public_jwk: "{}".to_owned(),
        private: Sealed(vec![]),
        created_at: 0,
        active_from: 0,
        retired_at: None,
        removed_at: Some(NOW.0 + 1),
    };
    index.apply(Change::Client(&client));
    index.apply(Change::User(&user));
    index.apply(Change::SigningKey(&signing));
    assert_eq!(index.client("client_1").unwrap().record, client);
    assert_eq!(*index.user("alice").unwrap().groups, ["tellers".into()]);
    assert_eq!(index.signing_keys(NOW).len(), 1);
    assert_eq!(index.signing_keys(UnixMs(NOW.0 + 1)).len(), 0);
    index.apply(Change::ClientGone("client_1"));
    index.apply(Change::UserGone("alice"));
    index.apply(Change::SigningKeyGone("k1"));
    assert!(index.client("client_1").is_none() && index.user("alice").is_none());
    assert!(index.signing_keys(NOW).is_empty());
    assert_eq!(index.sizes(), Sizes::default());
}

#[test]
fn an_index_is_loaded_beside_the_one_that_serves() {
    let index = index();
    index.apply(Change::Consumer(&consumer("acme")));
    let before = index.generation();
    let mut loader = Loader::new(index.successor());
    loader.apply(Change::Consumer(&consumer("acme")));
    loader.apply(Change::Key(&api_key(0, "acme")));
    assert_eq!(index.generation(), before, "what serves is not disturbed");
    let next = loader.finish(as_of());
    assert_ne!(next.generation(), before);
    assert_eq!(next.generation(), index.generation());
    assert_eq!(next.as_of(), as_of());
    assert!(next.lookup_key(&hash(0), NOW).is_ok());
    let before = next.generation();
    next.apply(Change::KeyGone(&api_key(0, "acme").id));
    assert_ne!(next.generation(), before);
    assert!(next.lookup_key(&hash(0), NOW).is_err());
}
