//! Codes, refresh tokens, sessions.

use mainstay_core::catalogue::oauth::{RefreshState, RefreshToken, TakenCode};
use mainstay_core::catalogue::{Change, Kind, Record, RevokedToken, StoreError};

use super::for_every_store;
use crate::rig::{Rig, load};
use crate::samples::*;

for_every_store!(
    a_code_is_taken_once_by_its_client,
    a_code_that_is_used_twice_ends_what_came_of_it,
    an_expired_code_is_no_code,
    a_refresh_token_is_rotated_and_its_reuse_ends_the_family,
    a_revoked_family_takes_nothing_in,
    a_refresh_token_expires,
    sessions_begin_and_end,
    a_user_has_so_many_sessions_and_no_more,
    an_id_is_used_once,
    what_has_expired_is_cleaned_up_in_bounds,
    a_deleted_client_and_user_leave_nothing_behind,
);

async fn a_code_is_taken_once_by_its_client(rig: &Rig) {
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    assert_eq!(rig.store.take_code(hash("c2"), "app").await, Ok(TakenCode::Unknown));
    assert_eq!(rig.store.take_code(hash("c1"), "thief").await, Ok(TakenCode::Unknown));
    assert_eq!(rig.other.take_code(hash("c1"), "app").await, Ok(TakenCode::Taken(code("c1", "f1"))));
    assert!(matches!(rig.store.store_code(code("c1", "f2")).await, Err(StoreError::Conflict { .. })));
}

async fn a_code_that_is_used_twice_ends_what_came_of_it(rig: &Rig) {
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    rig.store.take_code(hash("c1"), "app").await.unwrap();
    rig.store.store_refresh(refresh("r1", "f1")).await.unwrap();
    let plain = RevokedToken { id: "jti-plain".to_owned(), expires_at: NOW + 10 };
    rig.store.store_access("f1", plain).await.unwrap();
    let reused = TakenCode::Reused { family: "f1".to_owned() };
    assert_eq!(rig.other.take_code(hash("c1"), "app").await, Ok(reused.clone()));
    assert_eq!(rig.store.refresh(hash("r1"), "app").await, Ok(RefreshState::Revoked));
    let revoked: Vec<String> = load(&*rig.store).await.1.iter().map(|r| r.id().to_owned()).collect();
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    assert!(revoked.contains(&"jti-r1".to_owned()) && revoked.contains(&"jti-plain".to_owned()));
    // The tokens of the first use may come after the second: they come to nothing.
    rig.store.store_code(code("c2", "f2")).await.unwrap();
    for _ in 0..2 {
        rig.store.take_code(hash("c2"), "app").await.unwrap();
    }
    assert!(matches!(rig.store.store_refresh(refresh("r2", "f2")).await, Err(StoreError::Conflict { .. })));
    assert_eq!(rig.store.refresh(hash("r2"), "app").await, Ok(RefreshState::Unknown));
}

async fn an_expired_code_is_no_code(rig: &Rig) {
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    rig.later(60_000);
    assert_eq!(rig.store.take_code(hash("c1"), "app").await, Ok(TakenCode::Expired));
}

async fn a_refresh_token_is_rotated_and_its_reuse_ends_the_family(rig: &Rig) {
    rig.store.store_refresh(refresh("r1", "f1")).await.unwrap();
    let good = RefreshState::Good(refresh("r1", "f1"));
    assert_eq!(rig.store.refresh(hash("r1"), "app").await, Ok(good.clone()));
    assert_eq!(rig.store.refresh(hash("r1"), "thief").await, Ok(RefreshState::Unknown));
    let rotate = |old: &str, new: &str| rig.other.rotate_refresh(hash(old), "app", refresh(new, "f1"));
    assert_eq!(rotate("r1", "r2").await, Ok(good));
    assert_eq!(rotate("r0", "r3").await, Ok(RefreshState::Unknown));
    let foreign = rig.store.rotate_refresh(hash("r2"), "app", refresh("r3", "f2")).await;
    assert!(matches!(foreign, Err(StoreError::Invalid { field: "family", .. })));
    // Looking at a used one ends nothing; presenting it does.
    let reused = RefreshState::Reused { family: "f1".to_owned() };
    assert_eq!(rig.store.refresh(hash("r1"), "app").await, Ok(reused.clone()));
    assert!(matches!(rig.store.refresh(hash("r2"), "app").await, Ok(RefreshState::Good(_))));
    assert_eq!(rotate("r1", "r3").await, Ok(reused));
    for token in ["r1", "r2"] {
        assert_eq!(rotate(token, "r4").await, Ok(RefreshState::Revoked), "{token}");
    }
    let (_, revoked) = load(&*rig.store).await;
    let tokens: Vec<&str> = revoked.iter().map(Record::id).collect();
    assert_eq!(tokens.len(), 2, "the access tokens of both: {tokens:?}");
}

async fn a_revoked_family_takes_nothing_in(rig: &Rig) {
    rig.store.store_refresh(refresh("r1", "f1")).await.unwrap();
    rig.store.revoke_family("f1").await.unwrap();
    rig.store.revoke_family("f1").await.unwrap();
    rig.store.revoke_family("never was").await.unwrap();
    let conflict = |answer| matches!(answer, Err(StoreError::Conflict { .. }));
    assert!(conflict(rig.store.store_refresh(refresh("r2", "f1")).await));
    assert!(conflict(
        rig.store.store_access("f1", RevokedToken { id: "t".to_owned(), expires_at: NOW }).await
    ));
    assert_eq!(load(&*rig.store).await.1.len(), 1);
}

async fn a_refresh_token_expires(rig: &Rig) {
    rig.store.store_refresh(refresh("r1", "f1")).await.unwrap();
    rig.later(3_600_000);
    assert_eq!(rig.store.refresh(hash("r1"), "app").await, Ok(RefreshState::Expired));
    let rotated = rig.store.rotate_refresh(hash("r1"), "app", refresh("r2", "f1")).await;
    assert_eq!(rotated, Ok(RefreshState::Expired));
    assert_eq!(rig.store.refresh(hash("r2"), "app").await, Ok(RefreshState::Unknown));
}

async fn sessions_begin_and_end(rig: &Rig) {
    for (cookie, user) in [("a1", "alice"), ("a2", "alice"), ("b1", "bob")] {
        rig.store.store_session(session(cookie, user)).await.unwrap();
    }
    assert_eq!(rig.other.session(hash("a1")).await, Ok(Some(session("a1", "alice"))));
    assert_eq!(rig.store.session(hash("a3")).await, Ok(None));
    rig.store.end_session(hash("a1")).await.unwrap();
    assert_eq!(rig.store.session(hash("a1")).await, Ok(None));
    rig.store.end_sessions_of("alice").await.unwrap();
    assert_eq!(rig.store.session(hash("a2")).await, Ok(None));
    assert!(rig.store.session(hash("b1")).await.unwrap().is_some());
    rig.later(60_000);
    assert_eq!(rig.store.session(hash("b1")).await, Ok(None), "it is over");
    // A new password ends what was begun with the old one.
    rig.given(Change::CreateUser(user("carol"))).await;
    let mut late = session("c1", "carol");
    late.expires_at = NOW + 1_000_000;
    rig.store.store_session(late).await.unwrap();
    let password_hash = format!("{HASH}2");
    rig.given(Change::SetPassword { name: "carol".to_owned(), password_hash }).await;
    assert_eq!(rig.store.session(hash("c1")).await, Ok(None));
}

async fn a_user_has_so_many_sessions_and_no_more(rig: &Rig) {
    for number in 0..=mainstay_store::limits::SESSIONS_PER_USER_MAX {
        let mut session = session(&format!("s{number}"), "alice");
        session.created_at = NOW + number;
        rig.store.store_session(session).await.unwrap();
    }
    assert_eq!(rig.store.session(hash("s0")).await, Ok(None), "the oldest made room");
    for number in [1, 2, mainstay_store::limits::SESSIONS_PER_USER_MAX] {
        assert!(rig.store.session(hash(&format!("s{number}"))).await.unwrap().is_some(), "{number}");
    }
}

async fn an_id_is_used_once(rig: &Rig) {
    assert_eq!(rig.store.first_use("app/jti-1", NOW + 1000).await, Ok(true));
    assert_eq!(rig.other.first_use("app/jti-1", NOW + 9000).await, Ok(false));
    assert_eq!(rig.store.first_use("app/jti-2", NOW + 1000).await, Ok(true));
    rig.later(1000);
    assert_eq!(rig.store.first_use("app/jti-1", NOW + 9000).await, Ok(true));
}

async fn what_has_expired_is_cleaned_up_in_bounds(rig: &Rig) {
    for number in 0..5 {
        rig.store.store_code(code(&format!("c{number}"), &format!("f{number}"))).await.unwrap();
        rig.store.store_session(session(&format!("s{number}"), "alice")).await.unwrap();
    }
    let tokens = (0..5).map(|n| RevokedToken { id: format!("t{n}"), expires_at: NOW + 60_000 }).collect();
    rig.store.revoke_tokens(tokens).await.unwrap();
    rig.store.store_refresh(refresh("r1", "f9")).await.unwrap();
    assert_eq!(rig.store.clean_up(2).await.unwrap().removed, 0, "nothing has expired");
    rig.later(60_000);
    // Codes, their families, sessions, revoked tokens: five of each, at most two at a time.
    let mut removed = Vec::new();
    loop {
        let done = rig.store.clean_up(2).await.unwrap();
        removed.push(done.removed);
        if !done.more {
            break;
        }
    }
    assert_eq!(removed, [8, 8, 4]);
    assert!(load(&*rig.store).await.1.is_empty());
    assert!(matches!(rig.store.refresh(hash("r1"), "app").await, Ok(RefreshState::Good(_))));
}

async fn a_deleted_client_and_user_leave_nothing_behind(rig: &Rig) {
    for (client, user_name) in [("app", "alice"), ("app2", "bob")] {
        rig.given(create_client(client, None)).await;
        rig.given(Change::CreateUser(user(user_name))).await;
        let token = RefreshToken {
            client: client.to_owned(),
            user: Some(user_name.to_owned()),
            ..refresh(&format!("r-{client}"), &format!("f-{client}"))
        };
        rig.store.store_refresh(token).await.unwrap();
        rig.store.store_session(session(user_name, user_name)).await.unwrap();
    }
    rig.store.store_code(code("c1", "f1")).await.unwrap();
    rig.apply(Change::DeleteClient { id: "app".to_owned() }).await.unwrap();
    assert_eq!(rig.store.refresh(hash("r-app"), "app").await, Ok(RefreshState::Unknown));
    assert_eq!(rig.store.take_code(hash("c1"), "app").await, Ok(TakenCode::Unknown));
    assert!(rig.store.session(hash("alice")).await.unwrap().is_some());
    rig.apply(Change::DeleteUser { name: "bob".to_owned() }).await.unwrap();
    assert_eq!(rig.store.refresh(hash("r-app2"), "app2").await, Ok(RefreshState::Unknown));
    assert_eq!(rig.store.session(hash("bob")).await, Ok(None));
    assert!(rig.store.get(Kind::User, "alice").await.is_ok());
}
