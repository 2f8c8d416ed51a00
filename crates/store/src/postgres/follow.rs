//! Hears of changes that any node commits.
//!
//! Two ways, because the fast one can fail silently: a connection that listens, made anew when it breaks, and a question
//! every second.

use std::future::poll_fn;
use std::time::Duration;

use deadpool_postgres::Pool;
use mainstay_core::catalogue::Revision;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{AsyncMessage, Config, NoTls};

use super::connect;
use super::tx::Failed;
use crate::db::Row;
use crate::sql;

/// The name of the notifications.
pub(super) const CHANNEL: &str = "catalogue_changed";
/// Between two questions, and between two attempts to listen.
const EVERY: Duration = Duration::from_secs(1);
/// A question that takes longer is given up.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// The two tasks; they end with this.
#[derive(Debug)]
pub(super) struct Follower {
    tasks: [JoinHandle<()>; 2],
}

impl Follower {
    pub(super) fn start(config: Config, pool: Pool, revision: watch::Sender<Revision>) -> Self {
        let listening = tokio::spawn(listen_for_ever(config, revision.clone()));
        let asking = tokio::spawn(ask_for_ever(pool, revision));
        Self { tasks: [listening, asking] }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn ask_for_ever(pool: Pool, revision: watch::Sender<Revision>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // While the server is away nobody can change anything either; whoever asks it hears that it is.
        if let Ok(Ok(now)) = tokio::time::timeout(ASK_WITHIN, ask(&pool)).await {
            advance(&revision, now);
        }
    }
}

async fn ask(pool: &Pool) -> Result<Revision, Failed> {
    let client = connect::client(pool).await?;
    let statement = client.prepare_cached(sql::REVISION).await?;
    let row: Row = super::tx::read(&client.query_one(&statement, &[]).await?)?;
    Ok(Revision(row.unsigned(0)?))
}

async fn listen_for_ever(config: Config, revision: watch::Sender<Revision>) {
    loop {
        // An error and the end of the connection mean the same: try again, and until then the questions go on.
        let _ = listen(&config, &revision).await;
        tokio::time::sleep(EVERY).await;
    }
}

/// The connection that listens is no more; why does not matter, the next attempt is the same.
struct Broken;

impl From<tokio_postgres::Error> for Broken {
    fn from(_: tokio_postgres::Error) -> Self {
        Self
    }
}

impl From<tokio::time::error::Elapsed> for Broken {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self
    }
}

/// Listens until the connection breaks.
async fn listen(config: &Config, revision: &watch::Sender<Revision>) -> Result<(), Broken> {
    let (client, mut connection) = tokio::time::timeout(ASK_WITHIN, config.connect(NoTls)).await??;
    let hear = async {
        // The connection does its work while it is asked for messages.
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message?
                && let Ok(number) = notification.payload().parse()
            {
                advance(revision, Revision(number));
            }
        }
        Ok::<(), Broken>(())
    };
    let subscribe = async {
        let listen = format!("LISTEN {CHANNEL}");
        tokio::time::timeout(ASK_WITHIN, client.batch_execute(&listen)).await??;
        // The client is kept: without it the connection would end.
        std::future::pending::<Result<(), Broken>>().await
    };
    tokio::select! {
        ended = hear => ended,
        failed = subscribe => failed,
    }
}

/// Never back: a notification may come later than the answer to a question.
fn advance(revision: &watch::Sender<Revision>, to: Revision) {
    revision.send_if_modified(|now| {
        let newer = to > *now;
        *now = to.max(*now);
        newer
    });
}
