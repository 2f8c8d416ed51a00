//! Commands that go to the store itself, and not through an engine: `backup`, `restore`, `migrate`.

use std::future::Future;
use std::path::Path;

use mainstay_config::Options;
use mainstay_config::checked::{Checked, Store as Place};
use mainstay_core::catalogue::port::BackedUp;
use mainstay_core::catalogue::{Store, StoreError, Upkeep as _};
use mainstay_core::clock::{Clock, UnixMs};
use mainstay_core::units::show_date;
use mainstay_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use serde_json::json;

use super::ask::show;
use super::{Common, NO, complain};

/// Writes a backup. Files that a running engine has are read beside it.
pub(super) fn backup(common: &Common, to: &Path) -> u8 {
    with_store(common, "backup", |place| async move {
        let store = open_to_read(&place).await?;
        let done = store.backup(to).await?;
        Ok((done, store.place()))
    })
    .map_or_else(
        |code| code,
        |(done, place)| {
            let file = to.display().to_string();
            show(common, &value(&done, &place, &file), |_| format!("{file}: {}\n", said(&done, &place)));
            0
        },
    )
}

/// Fills an empty store from a backup.
pub(super) fn restore(common: &Common, from: &Path) -> u8 {
    with_store(common, "restore", |place| async move {
        match place {
            Place::Sqlite(path) => {
                let store = SqliteStore::open(SqliteOptions::new(path)).await?;
                Ok((store.restore(from).await?, store.place()))
            }
            Place::Postgres(url) => {
                let store = PostgresStore::open(PostgresOptions::new(url)).await?;
                Ok((store.restore(from).await?, store.place()))
            }
        }
    })
    .map_or_else(
        |code| code,
        |(done, place)| {
            let file = from.display().to_string();
            show(common, &value(&done, &place, &file), |_| {
                format!("{place} is now what {file} says: {}\n", said(&done, &place))
            });
            0
        },
    )
}

/// Brings the schema up to this release's.
pub(super) fn migrate(common: &Common) -> u8 {
    with_store(common, "migrate", |place| async move { open(&place).await?.migrate().await }).map_or_else(
        |code| code,
        |done| {
            show(common, &json!({ "from": done.from, "to": done.to }), |_| match done.from == done.to {
                true => format!("the store has schema {} already\n", done.to),
                false => format!("the store had schema {} and has {} now\n", done.from, done.to),
            });
            0
        },
    )
}

/// Does something with the store that the configuration names.
fn with_store<T, F: Future<Output = Result<T, StoreError>>>(
    common: &Common,
    command: &str,
    work: impl FnOnce(Place) -> F,
) -> Result<T, u8> {
    let checked = configuration(common)?;
    let no = |why: &str| {
        complain(&format!("mainstay {command}: {why}\n"));
        NO
    };
    let Some(stores) = checked.identity.stores else {
        return Err(no("this configuration has no `stores`, so there is nothing to keep"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| no(&error.to_string()))?;
    runtime.block_on(work(stores.catalogue)).map_err(|error| no(&error.to_string()))
}

fn configuration(common: &Common) -> Result<Checked, u8> {
    let options = Options { now_s: Clock::System.now().seconds(), ..Options::default() };
    let outcome = mainstay_config::load(&common.config, &options);
    outcome.checked.ok_or_else(|| {
        super::check::report(common, &outcome.problems, false);
        NO
    })
}

async fn open(place: &Place) -> Result<Box<dyn Store>, StoreError> {
    Ok(match place {
        Place::Sqlite(path) => Box::new(SqliteStore::open(SqliteOptions::new(path)).await?),
        Place::Postgres(url) => Box::new(PostgresStore::open(PostgresOptions::new(url)).await?),
    })
}

/// A store that is not there is not made only to be read.
async fn open_to_read(place: &Place) -> Result<Box<dyn Store>, StoreError> {
    let Place::Sqlite(path) = place else { return open(place).await };
    if !path.exists() {
        return Err(StoreError::Unavailable { cause: format!("there is no {}", path.display()) });
    }
    match open(place).await {
        Err(StoreError::Locked { .. }) => Ok(Box::new(SqliteStore::beside(SqliteOptions::new(path)).await?)),
        opened => opened,
    }
}

fn value(done: &BackedUp, place: &str, file: &str) -> serde_json::Value {
    json!({
        "file": file, "store": place, "rows": done.rows, "revision": done.revision.0,
        "audit_records": done.audit_records, "taken_at": taken_at(done),
    })
}

fn said(done: &BackedUp, place: &str) -> String {
    format!(
        "{} rows at revision {}, {} audit records whose chain is whole, taken at {} ({place}). stores.secret_key is not in it",
        done.rows,
        done.revision.0,
        done.audit_records,
        taken_at(done)
    )
}

fn taken_at(done: &BackedUp) -> String {
    show_date(UnixMs(done.taken_at).seconds())
}
