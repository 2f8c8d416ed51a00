//! A change of the catalogue and its audit record, in one transaction.

use mainstay_core::catalogue::{
    Actor, AdminToken, ApiKey, Applied, Change, Etag, Kind, OauthClient, Record, SigningKey, StoreError,
    Stored,
};
use serde_json::{Value as Json, json};

use super::records::{self, Turn};
use crate::audit::{self, Entry};
use crate::db::{Operation, Tx, params};
use crate::encode::shown;
use crate::{limits, sql};

/// Makes a change, or nothing.
pub(crate) struct Apply {
    pub(crate) change: Change,
    pub(crate) by: Actor,
    pub(crate) expected: Option<Etag>,
}

/// What a change did: for the audit, and for the caller.
struct Effect {
    kind: Kind,
    id: String,
    before: Option<Json>,
    after: Option<Json>,
    /// What the caller gets to see; `None`: it is gone.
    record: Option<Record>,
}

impl Operation for Apply {
    type Output = Applied;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Applied, StoreError> {
        limits::actor(&self.by)?;
        let turn = Turn::take(tx).await?;
        let effect = self.dispatch(tx, turn).await?;
        let entry = Entry {
            actor: &self.by,
            action: self.change.action(),
            kind: effect.kind,
            id: &effect.id,
            before: effect.before,
            after: effect.after,
        };
        let audit = audit::append(tx, turn.audit, entry).await?;
        tx.announce(turn.revision()).await?;
        let etag = Etag(turn.revision().0);
        let stored = effect.record.map(|record| Stored { record, etag });
        Ok(Applied { revision: turn.revision(), audit, stored })
    }
}

impl Apply {
    async fn dispatch<T: Tx>(&self, tx: &mut T, turn: Turn) -> Result<Effect, StoreError> {
        match &self.change {
            Change::CreateConsumer(consumer) => create(tx, turn, Record::Consumer(consumer.clone())).await,
            Change::CreateUser(user) => create(tx, turn, Record::User(user.clone())).await,
            Change::AddSigningKey(key) => create(tx, turn, Record::SigningKey(key.clone())).await,
            Change::CreateAdminToken(token) => create(tx, turn, Record::AdminToken(token.clone())).await,
            Change::CreateKey { key, consumer_in_file } | Change::ImportKey { key, consumer_in_file } => {
                create_key(tx, turn, key, *consumer_in_file).await
            }
            Change::CreateClient { client, consumer_in_file } => {
                check_client_owner(tx, client, *consumer_in_file).await?;
                create(tx, turn, Record::Client(client.clone())).await
            }
            Change::RotateKey { id, new, old_expires_at } => {
                self.rotate_key(tx, turn, id, new, *old_expires_at).await
            }
            Change::DeleteConsumer { id } => {
                let effect = self.delete(tx, turn, Kind::Consumer, id).await?;
                records::delete_owned(tx, turn, Kind::Key, id).await?;
                delete_clients_of(tx, turn, id).await?;
                Ok(effect)
            }
            Change::DeleteClient { id } => {
                let effect = self.delete(tx, turn, Kind::Client, id).await?;
                forget_client(tx, id).await?;
                Ok(effect)
            }
            Change::DeleteUser { name } => {
                let effect = self.delete(tx, turn, Kind::User, name).await?;
                forget_user(tx, name).await?;
                Ok(effect)
            }
            other => self.edit(tx, turn, other).await,
        }
    }

    /// Changes that leave the record where it is.
    async fn edit<T: Tx>(&self, tx: &mut T, turn: Turn, change: &Change) -> Result<Effect, StoreError> {
        let (kind, id) = edited(change);
        let old = records::get_expected(tx, kind, id, self.expected).await?.record;
        let mut new = old.clone();
        alter(&mut new, change, tx.now())?;
        match (change, &old, &new) {
            (Change::SetPassword { name, .. }, _, _) => {
                tx.run(sql::SESSIONS_DELETE, params![name.as_str()]).await?;
            }
            (Change::UpdateClient { consumer_in_file, .. }, Record::Client(old), Record::Client(new))
                if old.consumer != new.consumer =>
            {
                check_client_owner(tx, new, *consumer_in_file).await?;
            }
            _ => {}
        }
        limits::record(&new)?;
        records::update(tx, turn, &new).await?;
        let (before, after) = (shown(&old)?, shown(&new)?);
        Ok(Effect { kind, id: id.to_owned(), before: Some(before), after: Some(after), record: Some(new) })
    }

    async fn delete<T: Tx>(
        &self,
        tx: &mut T,
        turn: Turn,
        kind: Kind,
        id: &str,
    ) -> Result<Effect, StoreError> {
        let old = records::get_expected(tx, kind, id, self.expected).await?.record;
        records::delete(tx, turn, kind, id).await?;
        Ok(Effect { kind, id: id.to_owned(), before: Some(shown(&old)?), after: None, record: None })
    }

    async fn rotate_key<T: Tx>(
        &self,
        tx: &mut T,
        turn: Turn,
        id: &str,
        new: &ApiKey,
        old_expires_at: i64,
    ) -> Result<Effect, StoreError> {
        let stored = records::get_expected(tx, Kind::Key, id, self.expected).await?;
        let Record::Key(old) = &stored.record else { return Err(wrong_kind(&stored.record)) };
        let expired = old.expires_at.is_some_and(|at| at <= tx.now());
        if old.revoked_at.is_some() || expired {
            let state = if expired { "expired" } else { "revoked" };
            return Err(StoreError::Conflict { what: format!("key {id:?} is {state}; make a new one") });
        }
        if (&new.consumer, new.mode) != (&old.consumer, old.mode) {
            return Err(StoreError::Invalid {
                field: "key",
                why: "a rotated key keeps its consumer and mode".to_owned(),
            });
        }
        let mut replaced = old.clone();
        replaced.expires_at = Some(old.expires_at.map_or(old_expires_at, |at| at.min(old_expires_at)));
        let replaced = Record::Key(replaced);
        records::update(tx, turn, &replaced).await?;
        let created = create_key(tx, turn, new, true).await?;
        let after = json!({ "replaced": shown(&replaced)?, "by": created.after });
        Ok(Effect {
            kind: Kind::Key,
            id: id.to_owned(),
            before: Some(shown(&stored.record)?),
            after: Some(after),
            record: created.record,
        })
    }
}

async fn create<T: Tx>(tx: &mut T, turn: Turn, record: Record) -> Result<Effect, StoreError> {
    limits::record(&record)?;
    records::insert(tx, turn, &record).await?;
    Ok(Effect {
        kind: record.kind(),
        id: record.id().to_owned(),
        before: None,
        after: Some(shown(&record)?),
        record: Some(record),
    })
}

async fn create_key<T: Tx>(
    tx: &mut T,
    turn: Turn,
    key: &ApiKey,
    in_file: bool,
) -> Result<Effect, StoreError> {
    limits::id("consumer", &key.consumer)?;
    check_owner(tx, &key.consumer, in_file).await?;
    records::check_owned(tx, Kind::Key, &key.consumer, limits::KEYS_PER_CONSUMER_MAX).await?;
    create(tx, turn, Record::Key(key.clone())).await
}

async fn check_client_owner<T: Tx>(
    tx: &mut T,
    client: &OauthClient,
    in_file: bool,
) -> Result<(), StoreError> {
    let Some(consumer) = &client.consumer else { return Ok(()) };
    check_owner(tx, consumer, in_file).await?;
    records::check_owned(tx, Kind::Client, consumer, limits::CLIENTS_PER_CONSUMER_MAX).await
}

async fn check_owner<T: Tx>(tx: &mut T, consumer: &str, in_file: bool) -> Result<(), StoreError> {
    if !in_file {
        records::get(tx, Kind::Consumer, consumer).await?;
    }
    Ok(())
}

async fn delete_clients_of<T: Tx>(tx: &mut T, turn: Turn, consumer: &str) -> Result<(), StoreError> {
    for row in tx.rows(sql::RECORDS_OWNED_IDS, params![Kind::Client.name(), consumer]).await? {
        forget_client(tx, row.text(0)?).await?;
    }
    records::delete_owned(tx, turn, Kind::Client, consumer).await
}

async fn forget_client<T: Tx>(tx: &mut T, id: &str) -> Result<(), StoreError> {
    for statement in [
        sql::ACCESS_OF_CLIENT_DELETE,
        sql::REFRESH_OF_CLIENT_DELETE,
        sql::FAMILIES_OF_CLIENT_DELETE,
        sql::CODES_OF_CLIENT_DELETE,
    ] {
        tx.run(statement, params![id]).await?;
    }
    Ok(())
}

async fn forget_user<T: Tx>(tx: &mut T, name: &str) -> Result<(), StoreError> {
    for statement in [
        sql::ACCESS_OF_USER_DELETE,
        sql::REFRESH_OF_USER_DELETE,
        sql::FAMILIES_OF_USER_DELETE,
        sql::CODES_OF_USER_DELETE,
        sql::SESSIONS_DELETE,
    ] {
        tx.run(statement, params![name]).await?;
    }
    Ok(())
}

/// Which record a change alters.
fn edited(change: &Change) -> (Kind, &str) {
    match change {
        Change::UpdateConsumer(consumer) => (Kind::Consumer, &consumer.id),
        Change::CreateConsumer(consumer) => (Kind::Consumer, &consumer.id),
        Change::DeleteConsumer { id } => (Kind::Consumer, id),
        Change::RestrictKey { id, .. } | Change::ExpireKey { id, .. } | Change::RevokeKey { id } => {
            (Kind::Key, id)
        }
        Change::CreateKey { key, .. } | Change::ImportKey { key, .. } => (Kind::Key, &key.id),
        Change::RotateKey { id, .. } => (Kind::Key, id),
        Change::UpdateClient { client, .. } | Change::CreateClient { client, .. } => {
            (Kind::Client, &client.id)
        }
        Change::SetClientSecret { id, .. } | Change::DeleteClient { id } => (Kind::Client, id),
        Change::UpdateUser(user) | Change::CreateUser(user) => (Kind::User, &user.name),
        Change::SetPassword { name, .. } | Change::DeleteUser { name } => (Kind::User, name),
        Change::AddSigningKey(key) => (Kind::SigningKey, &key.id),
        Change::RetireSigningKey { id, .. } | Change::RemoveSigningKey { id, .. } => (Kind::SigningKey, id),
        Change::CreateAdminToken(token) => (Kind::AdminToken, &token.id),
        Change::RevokeAdminToken { id } => (Kind::AdminToken, id),
    }
}

/// The record as the change leaves it.
fn alter(record: &mut Record, change: &Change, now: i64) -> Result<(), StoreError> {
    match (record, change) {
        (Record::Consumer(old), Change::UpdateConsumer(new)) => {
            let created_at = old.created_at;
            *old = new.clone();
            old.created_at = created_at;
        }
        (Record::Client(old), Change::UpdateClient { client, .. }) => {
            let kept = (old.created_at, old.kind, old.secret_sha256);
            *old = client.clone();
            (old.created_at, old.kind, old.secret_sha256) = kept;
        }
        (Record::Client(old), Change::SetClientSecret { sha256, .. }) => old.secret_sha256 = *sha256,
        (Record::User(old), Change::UpdateUser(new)) => {
            let kept = (old.created_at, std::mem::take(&mut old.password_hash));
            *old = new.clone();
            (old.created_at, old.password_hash) = kept;
        }
        (Record::User(old), Change::SetPassword { password_hash, .. }) => {
            old.password_hash.clone_from(password_hash);
        }
        (Record::Key(key), change) => alter_key(key, change, now),
        (Record::SigningKey(key), change) => alter_signing_key(key, change)?,
        (Record::AdminToken(AdminToken { revoked_at, .. }), Change::RevokeAdminToken { .. }) => {
            *revoked_at = Some(revoked_at.unwrap_or(now));
        }
        (record, _) => return Err(wrong_kind(record)),
    }
    Ok(())
}

fn alter_key(key: &mut ApiKey, change: &Change, now: i64) {
    match change {
        Change::RestrictKey { scopes, addresses, apis, .. } => {
            key.scopes.clone_from(scopes);
            key.addresses.clone_from(addresses);
            key.apis.clone_from(apis);
        }
        Change::ExpireKey { at, .. } => key.expires_at = Some(*at),
        _ => key.revoked_at = Some(key.revoked_at.unwrap_or(now)),
    }
}

fn alter_signing_key(key: &mut SigningKey, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::RetireSigningKey { at, .. } => key.retired_at = Some(*at),
        Change::RemoveSigningKey { at, .. } => {
            if key.retired_at.is_none() {
                let what = format!("signing key {:?} signs still; retire it first", key.id);
                return Err(StoreError::Conflict { what });
            }
            key.removed_at = Some(*at);
            key.private.0.clear();
        }
        _ => return Err(wrong_kind(&Record::SigningKey(key.clone()))),
    }
    Ok(())
}

/// Cannot happen: a change names the kind that it alters.
fn wrong_kind(record: &Record) -> StoreError {
    StoreError::Damaged { what: format!("{} {:?} is of another kind", record.kind().name(), record.id()) }
}
