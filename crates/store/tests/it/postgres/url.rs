//! URLs that cannot be used, and what is shown of them.

use std::time::Duration;

use mainstay_core::catalogue::{StoreError, Upkeep as _};
use mainstay_store::{PostgresOptions, PostgresStore};

use crate::rig::{Database, postgres_server, run};

const PLANTED: &str = "planted-password";

#[test]
fn a_url_that_cannot_be_used_is_refused_without_its_password() {
    run(async {
        let rows = [
            (format!("postgres://u:{PLANTED}@localhost:notaport/db"), "URL"),
            (format!("mysql://u:{PLANTED}@localhost/db"), "URL"),
            (format!("postgres://u:{PLANTED}@localhost/db?sslmode=require"), "TLS"),
        ];
        for (url, expected) in rows {
            let options = PostgresOptions::new(&url);
            assert!(!format!("{options:?}").contains(PLANTED));
            let refused = PostgresStore::open(options).await;
            let Err(StoreError::Invalid { why, .. }) = &refused else { panic!("{refused:?}") };
            assert!(why.contains(expected) && !why.contains(PLANTED), "{why}");
        }
    });
}

#[test]
fn a_server_that_is_not_there_or_does_not_answer_is_unavailable() {
    run(async {
        // Takes connections and says nothing, for ever.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for port in [silent.local_addr().unwrap().port(), free] {
            let url = format!("postgres://u:{PLANTED}@127.0.0.1:{port}/db");
            let opening = PostgresStore::open(PostgresOptions::new(url));
            let refused = tokio::time::timeout(Duration::from_secs(30), opening).await.expect("no bound");
            let Err(StoreError::Unavailable { cause }) = &refused else { panic!("{refused:?}") };
            assert!(!cause.contains(PLANTED), "{cause}");
        }
    });
}

#[test]
fn its_place_is_shown_without_a_password() {
    let Some(server) = postgres_server() else { return };
    run(async {
        let database = Database::create(&server).await;
        let url = format!("{}?password={PLANTED}", database.url);
        let store = PostgresStore::open(PostgresOptions::new(&url)).await.unwrap();
        let name = database.url.rsplit('/').next().unwrap();
        let place = store.place();
        assert!(place.starts_with("postgres://127.0.0.1") && place.ends_with(name), "{place}");
        assert!(!place.contains(PLANTED) && !format!("{store:?}").contains(PLANTED));
        drop(store);
        database.drop().await;
    });
}
