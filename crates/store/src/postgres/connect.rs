//! Connections to the server, and the schema in it.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use mainstay_core::catalogue::{Revision, StoreError};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, NoTls};

use super::tx::{Failed, PostgresTx};
use crate::db::{Operation as _, Row, Tx, params};
use crate::ops::upkeep::Migrate;
use crate::schema::{Schema, for_postgres};
use crate::sql;

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long a caller waits for a connection.
const POOL_WITHIN: Duration = Duration::from_secs(5);
/// What every session starts with. A statement, a lock and a forgotten transaction end by themselves.
const SESSION: &str = "-c search_path=mainstay -c statement_timeout=5s -c lock_timeout=5s \
    -c idle_in_transaction_session_timeout=15s";
/// Held while the schema is made or migrated: `MNST`.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1296978772)";
/// A migration may take longer than a statement of daily work.
const PATIENCE: &str = "SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '10min'";

/// What a URL says, with the bounds that every connection has.
pub(super) fn config(url: &str) -> Result<Config, StoreError> {
    let invalid = |why: String| StoreError::Invalid { field: "stores", why };
    // The parser's own message names a part of the URL at most, and no password.
    let mut config: Config =
        url.parse().map_err(|error| invalid(format!("the URL of PostgreSQL: {error}")))?;
    if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
        return Err(invalid("sslmode: this release does not speak TLS with PostgreSQL".to_owned()));
    }
    config.ssl_mode(SslMode::Disable);
    let options = config.get_options().map(|own| format!("{own} {SESSION}"));
    config.options(options.unwrap_or_else(|| SESSION.to_owned()));
    config.connect_timeout(CONNECT_WITHIN).tcp_user_timeout(Duration::from_secs(10));
    config.keepalives_idle(Duration::from_secs(30));
    if config.get_application_name().is_none() {
        config.application_name("mainstay");
    }
    Ok(config)
}

pub(super) fn pool(config: &Config, connections_max: usize) -> Result<Pool, StoreError> {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(config.clone(), NoTls, recycling);
    let timeouts =
        Timeouts { wait: Some(POOL_WITHIN), create: Some(CONNECT_WITHIN), recycle: Some(CONNECT_WITHIN) };
    let pool = Pool::builder(manager).max_size(connections_max).runtime(Runtime::Tokio1).timeouts(timeouts);
    pool.build().map_err(|error| StoreError::Unavailable { cause: error.to_string() })
}

pub(super) async fn client(pool: &Pool) -> Result<Object, Failed> {
    Ok(pool.get().await?)
}

/// Where it is, for people: no password.
pub(super) fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(position, host)| {
        let port = ports.get(position).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => folder.display().to_string(),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    format!("postgres://{}/{}", hosts.join(","), config.get_dbname().unwrap_or_default())
}

/// Makes the schema of an empty database; accepts or refuses one that is there. Of nodes that start at once one makes it.
pub(super) async fn prepare(client: &mut Object, schema: &Schema) -> Result<Revision, Failed> {
    let transaction = client.transaction().await?;
    let mut tx = PostgresTx::new(transaction, 0);
    tx.script(PATIENCE).await?;
    tx.rows(LOCK, &[]).await?;
    let missing = "SELECT CAST(to_regnamespace('mainstay') IS NULL AS INT), \
        CAST(to_regclass('mainstay.state') IS NULL AS INT)";
    let row = tx.row(missing, &[]).await?;
    let (no_schema, no_tables) = match &row {
        Some(row) => (row.int(0)? == 1, row.int(1)? == 1),
        None => (true, true),
    };
    if no_schema {
        tx.script("CREATE SCHEMA mainstay").await?;
    }
    if no_tables {
        for statement in schema.steps(0) {
            tx.script(&for_postgres(statement)).await?;
        }
        tx.run(sql::SET_SCHEMA, params![i64::from(schema.newest())]).await?;
    }
    check_schema(&mut tx, schema).await?;
    let row = tx.row(sql::REVISION, &[]).await?;
    let revision = row.map_or(Ok(0), |row| row.unsigned(0))?;
    tx.transaction.commit().await?;
    Ok(Revision(revision))
}

/// Brings the schema up to the newest, in one transaction.
pub(super) async fn migrate(client: &mut Object, migrate: Migrate) -> Result<(u32, u32), Failed> {
    let mut tx = PostgresTx::new(client.transaction().await?, 0);
    tx.script(PATIENCE).await?;
    tx.rows(LOCK, &[]).await?;
    let done = migrate.run(&mut tx).await?;
    tx.transaction.commit().await?;
    Ok(done)
}

/// Refuses to work on a schema that another release has made meanwhile.
pub(super) async fn check_schema(tx: &mut PostgresTx<'_>, schema: &Schema) -> Result<(), StoreError> {
    let row: Option<Row> = tx.row(sql::SCHEMA, &[]).await?;
    schema.accept(row.map_or(Ok(0), |row| row.int(0))?).map(drop)
}
