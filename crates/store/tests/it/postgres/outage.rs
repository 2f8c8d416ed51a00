//! The server goes away and comes back under a running engine.

use std::time::Duration;

use mainstay_core::catalogue::change::Verified;
use mainstay_core::catalogue::port::{Changes, RecordChange};
use mainstay_core::catalogue::{Catalogue as _, Change, Kind, OauthState as _, Revision, StoreError};
use mainstay_store::{PostgresOptions, PostgresStore};

use super::server::Server;
use crate::rig::{Database, postgres_server, run};
use crate::samples::*;

fn create(id: &str) -> Change {
    Change::CreateConsumer(consumer(id))
}

/// Longer than a call may take: ten seconds.
const CALL_MAX: Duration = Duration::from_secs(20);

/// Asks until the server answers; every refusal on the way says that it does not.
async fn until_it_answers(store: &PostgresStore, id: &str) -> Revision {
    loop {
        let call = tokio::time::timeout(CALL_MAX, store.apply(create(id), actor(), None));
        match call.await.expect("a call without a bound") {
            Ok(applied) => return applied.revision,
            Err(StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let Some(mut server) = Server::start() else { return };
    run(async {
        let options = PostgresOptions::new(server.url());
        let store = loop {
            match PostgresStore::open(options.clone()).await {
                Ok(store) => break store,
                Err(StoreError::Unavailable { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other:?}"),
            }
        };
        let other = PostgresStore::open(options).await.unwrap();
        for number in 0..20 {
            store.apply(create(&format!("c{number}")), actor(), None).await.unwrap();
        }
        server.crash();
        for _ in 0..3 {
            let call = tokio::time::timeout(CALL_MAX, store.apply(create("late"), actor(), None));
            let refused = call.await.expect("a call without a bound");
            assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
            assert!(matches!(store.session(hash("s")).await, Err(StoreError::Unavailable { .. })));
            assert!(matches!(store.load(&mut |_| {}).await, Err(StoreError::Unavailable { .. })));
        }
        server.run();
        let revision = until_it_answers(&store, "after").await;
        assert_eq!(revision, Revision(21));
        // The other node, which asked for nothing meanwhile, follows again.
        tokio::time::timeout(CALL_MAX, other.changed(Revision(20))).await.expect("not woken");
        let Changes::Since { records, .. } = other.changes(Revision(20)).await.unwrap() else { panic!() };
        assert!(matches!(&records[..], [RecordChange::Changed(record)] if record.id() == "after"));
        for number in 0..20 {
            assert!(other.get(Kind::Consumer, &format!("c{number}")).await.is_ok());
        }
        assert!(matches!(other.verify_audit().await, Ok(Verified::Whole { records: 21, .. })));
    });
}

#[test]
fn a_lost_notification_is_made_up_for() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let writer = PostgresStore::open(PostgresOptions::new(&database.url)).await.unwrap();
        let reader = PostgresStore::open(PostgresOptions::new(&database.url)).await.unwrap();
        let (admin, connection) =
            tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let end_listeners = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE datname = current_database() AND query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
        for round in 0..5 {
            // Nobody listens at this moment; who follows hears of it all the same.
            admin.execute(end_listeners, &[]).await.unwrap();
            writer.apply(create(&format!("c{round}")), actor(), None).await.unwrap();
            let woken = tokio::time::timeout(Duration::from_secs(2), reader.changed(Revision(round)));
            woken.await.expect("not within two seconds");
        }
        drop((writer, reader, admin));
        database.drop().await;
    });
}

#[test]
fn connections_that_are_cut_are_made_anew() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let store = PostgresStore::open(PostgresOptions::new(&database.url)).await.unwrap();
        let (admin, connection) =
            tokio_postgres::connect(&database.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        for round in 0..5 {
            let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
            admin.execute(cut, &[]).await.unwrap();
            until_it_answers(&store, &format!("c{round}")).await;
        }
        drop((store, admin));
        database.drop().await;
    });
}
