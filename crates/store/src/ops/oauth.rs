//! Codes, families of refresh tokens, sessions: each answer one atomic step.
//!
//! Of several nodes that present the same code or token, one wins: the statement that marks it as used does so only where
//! it is not marked yet, and both databases let one transaction at a time through there.

use mainstay_core::catalogue::oauth::{AuthorizationCode, RefreshState, RefreshToken, Session, TakenCode};
use mainstay_core::catalogue::{Record, Revision, RevokedToken, Sha256, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::records::Turn;
use crate::db::{Operation, Row, Tx, params};
use crate::encode::Encoded;
use crate::{limits, sql};

pub(crate) struct StoreCode(pub(crate) AuthorizationCode);

impl Operation for StoreCode {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        let code = &self.0;
        limits::code(code)?;
        let max = limits::CODES_PER_CLIENT_MAX;
        check_count(tx.row(sql::CODES_COUNT, params![code.client.as_str(), max]).await?, max, "client")?;
        let families = limits::FAMILIES_MAX;
        let row =
            tx.row(sql::FAMILIES_COUNT, params![code.client.as_str(), code.user.as_str(), families]).await?;
        check_count(row, families, "user")?;
        // The family is there from the code on, so that a code that is used twice can end it at any time.
        let (client, user) = (code.client.as_str(), Some(code.user.as_str()));
        begin_family(tx, &code.family, client, user, code.expires_at).await?;
        tx.run(
            sql::CODE_INSERT,
            params![
                code.sha256.to_hex(),
                client,
                code.user.as_str(),
                code.family.as_str(),
                code.expires_at,
                to_json(code)?
            ],
        )
        .await?;
        Ok(())
    }
}

pub(crate) struct TakeCode {
    pub(crate) sha256: Sha256,
    pub(crate) client: String,
}

impl Operation for TakeCode {
    type Output = TakenCode;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<TakenCode, StoreError> {
        let (hash, client, now) = (self.sha256.to_hex(), self.client.as_str(), tx.now());
        if let Some(row) = tx.row(sql::CODE_TAKE, params![now, hash.as_str(), client]).await? {
            let code: AuthorizationCode = from_json(row.text(0)?)?;
            return Ok(if code.expires_at <= now { TakenCode::Expired } else { TakenCode::Taken(code) });
        }
        let Some(row) = tx.row(sql::CODE_FAMILY, params![hash, client]).await? else {
            return Ok(TakenCode::Unknown);
        };
        let family = row.text(0)?.to_owned();
        revoke_family(tx, &family).await?;
        Ok(TakenCode::Reused { family })
    }
}

pub(crate) struct StoreRefresh(pub(crate) RefreshToken);

impl Operation for StoreRefresh {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        limits::refresh(&self.0)?;
        let RefreshToken { family, client, user, expires_at, .. } = &self.0;
        begin_family(tx, family, client, user.as_deref(), *expires_at).await?;
        insert_refresh(tx, &self.0).await
    }
}

/// Looks, and changes nothing.
pub(crate) struct ReadRefresh {
    pub(crate) sha256: Sha256,
    pub(crate) client: String,
}

impl Operation for ReadRefresh {
    type Output = RefreshState;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<RefreshState, StoreError> {
        let row = tx.row(sql::REFRESH, params![self.sha256.to_hex(), self.client.as_str()]).await?;
        let Some(row) = row else { return Ok(RefreshState::Unknown) };
        let state = tx.row(sql::FAMILY_STATE, params![row.text(0)?]).await?;
        judge(&row, state.as_ref(), tx.now())
    }
}

pub(crate) struct RotateRefresh {
    pub(crate) old: Sha256,
    pub(crate) client: String,
    pub(crate) new: RefreshToken,
}

impl Operation for RotateRefresh {
    type Output = RefreshState;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<RefreshState, StoreError> {
        limits::refresh(&self.new)?;
        let (hash, client, now) = (self.old.to_hex(), self.client.as_str(), tx.now());
        let Some(row) = tx.row(sql::REFRESH, params![hash.as_str(), client]).await? else {
            return Ok(RefreshState::Unknown);
        };
        let family = row.text(0)?.to_owned();
        if (family.as_str(), client) != (self.new.family.as_str(), self.new.client.as_str()) {
            let why = "the new token must be of the old one's family and client".to_owned();
            return Err(StoreError::Invalid { field: "family", why });
        }
        // From here on this transaction has the family to itself; what the row said before may be out of date.
        let state = tx.row(sql::FAMILY_EXTEND, params![self.new.expires_at, family.as_str()]).await?;
        let row = tx.row(sql::REFRESH, params![hash.as_str(), client]).await?;
        let Some(row) = row else { return Ok(RefreshState::Unknown) };
        let judged = judge(&row, state.as_ref(), now)?;
        match &judged {
            RefreshState::Reused { .. } => revoke_family(tx, &family).await?,
            RefreshState::Good(_) => {
                tx.run(sql::REFRESH_ROTATE, params![now, hash]).await?;
                insert_refresh(tx, &self.new).await?;
            }
            RefreshState::Revoked | RefreshState::Expired | RefreshState::Unknown => {}
        }
        Ok(judged)
    }
}

/// What a row of `REFRESH` and the state of its family mean.
fn judge(row: &Row, family: Option<&Row>, now: i64) -> Result<RefreshState, StoreError> {
    let revoked = family.map_or(Ok(true), |state| state.opt_int(0).map(|at| at.is_some()))?;
    Ok(if revoked {
        RefreshState::Revoked
    } else if row.opt_int(2)?.is_some() {
        RefreshState::Reused { family: row.text(0)?.to_owned() }
    } else if row.int(1)? <= now {
        RefreshState::Expired
    } else {
        RefreshState::Good(from_json(row.text(3)?)?)
    })
}

pub(crate) struct StoreAccess {
    pub(crate) family: String,
    pub(crate) token: RevokedToken,
}

impl Operation for StoreAccess {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        limits::revoked(std::slice::from_ref(&self.token))?;
        let state = tx.row(sql::FAMILY_EXTEND, params![self.token.expires_at, self.family.as_str()]).await?;
        check_alive(state.as_ref(), &self.family)?;
        insert_access(tx, &self.family, &self.token).await
    }
}

pub(crate) struct RevokeFamily(pub(crate) String);

impl Operation for RevokeFamily {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        revoke_family(tx, &self.0).await
    }
}

pub(crate) struct RevokeTokens(pub(crate) Vec<RevokedToken>);

impl Operation for RevokeTokens {
    type Output = Revision;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Revision, StoreError> {
        limits::revoked(&self.0)?;
        revoke_tokens(tx, &self.0).await
    }
}

pub(crate) struct FirstUse {
    pub(crate) id: String,
    pub(crate) expires_at: i64,
}

impl Operation for FirstUse {
    type Output = bool;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<bool, StoreError> {
        limits::text("id", &self.id, 256)?;
        let now = tx.now();
        Ok(tx.run(sql::USED_ID_INSERT, params![self.id.as_str(), self.expires_at, now]).await? == 1)
    }
}

pub(crate) struct StoreSession(pub(crate) Session);

impl Operation for StoreSession {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        limits::session(&self.0)?;
        let Session { sha256, user, created_at, expires_at } = &self.0;
        let max = limits::SESSIONS_PER_USER_MAX;
        let row = tx.row(sql::SESSIONS_COUNT, params![user.as_str(), max]).await?;
        if row.map_or(Ok(0), |row| row.int(0))? >= max {
            tx.run(sql::SESSIONS_DELETE_OLDEST, params![user.as_str()]).await?;
        }
        let values = params![sha256.to_hex(), user.as_str(), *created_at, *expires_at];
        tx.run(sql::SESSION_INSERT, values).await?;
        Ok(())
    }
}

pub(crate) struct ReadSession(pub(crate) Sha256);

impl Operation for ReadSession {
    type Output = Option<Session>;

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<Option<Session>, StoreError> {
        let now = tx.now();
        let Some(row) = tx.row(sql::SESSION, params![self.0.to_hex(), now]).await? else { return Ok(None) };
        Ok(Some(Session {
            sha256: self.0,
            user: row.text(0)?.to_owned(),
            created_at: row.int(1)?,
            expires_at: row.int(2)?,
        }))
    }
}

/// One session, or all of a user.
pub(crate) enum EndSessions {
    One(Sha256),
    Of(String),
}

impl Operation for EndSessions {
    type Output = ();

    async fn run<T: Tx>(&self, tx: &mut T) -> Result<(), StoreError> {
        match self {
            Self::One(sha256) => tx.run(sql::SESSION_DELETE, params![sha256.to_hex()]).await?,
            Self::Of(user) => tx.run(sql::SESSIONS_DELETE, params![user.as_str()]).await?,
        };
        Ok(())
    }
}

async fn begin_family<T: Tx>(
    tx: &mut T,
    family: &str,
    client: &str,
    user: Option<&str>,
    expires_at: i64,
) -> Result<(), StoreError> {
    let state = tx.row(sql::FAMILY_TOUCH, params![family, client, user, expires_at]).await?;
    check_alive(state.as_ref(), family)
}

fn check_alive(state: Option<&Row>, family: &str) -> Result<(), StoreError> {
    let revoked = state.map_or(Ok(true), |row| row.opt_int(0).map(|at| at.is_some()))?;
    if revoked {
        return Err(StoreError::Conflict { what: format!("the consent {family:?} is revoked") });
    }
    Ok(())
}

async fn insert_refresh<T: Tx>(tx: &mut T, token: &RefreshToken) -> Result<(), StoreError> {
    let RefreshToken { sha256, family, client, expires_at, .. } = token;
    let body = to_json(token)?;
    let values = params![sha256.to_hex(), family.as_str(), client.as_str(), *expires_at, body];
    tx.run(sql::REFRESH_INSERT, values).await?;
    match &token.access {
        Some(access) => insert_access(tx, family, access).await,
        None => Ok(()),
    }
}

async fn insert_access<T: Tx>(tx: &mut T, family: &str, token: &RevokedToken) -> Result<(), StoreError> {
    tx.run(sql::ACCESS_INSERT, params![token.id.as_str(), family, token.expires_at]).await?;
    Ok(())
}

async fn revoke_family<T: Tx>(tx: &mut T, family: &str) -> Result<(), StoreError> {
    let now = tx.now();
    if tx.run(sql::FAMILY_REVOKE, params![now, family]).await? == 0 {
        return Ok(());
    }
    let mut tokens = Vec::new();
    for row in tx.rows(sql::ACCESS_ALIVE, params![family, now]).await? {
        tokens.push(RevokedToken { id: row.text(0)?.to_owned(), expires_at: row.int(1)? });
    }
    if !tokens.is_empty() {
        revoke_tokens(tx, &tokens).await?;
    }
    Ok(())
}

async fn revoke_tokens<T: Tx>(tx: &mut T, tokens: &[RevokedToken]) -> Result<Revision, StoreError> {
    let turn = Turn::take(tx).await?;
    for token in tokens {
        let encoded = Encoded::new(&Record::RevokedToken(token.clone()))?;
        let kind = encoded.kind;
        if tx.run(sql::REVOKED_INSERT, &encoded.insertion(turn.revision)).await? == 0 {
            continue;
        }
        let max = limits::records_max(kind);
        if tx.run(sql::TALLY_UP, params![1_i64, kind.name(), 1_i64, max]).await? == 0 {
            let why = format!("{max} tokens are revoked already; they go when they expire");
            return Err(StoreError::Invalid { field: "tokens", why });
        }
        tx.run(sql::CHANGE_INSERT, params![turn.revision, kind.name(), token.id.as_str()]).await?;
    }
    tx.announce(turn.revision()).await?;
    Ok(turn.revision())
}

fn check_count(row: Option<Row>, max: i64, field: &'static str) -> Result<(), StoreError> {
    if row.map_or(Ok(0), |row| row.int(0))? >= max {
        let why = format!("has {max} of them already; they go when they expire");
        return Err(StoreError::Invalid { field, why });
    }
    Ok(())
}

fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value)
        .map_err(|error| StoreError::Invalid { field: "body", why: error.to_string() })
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Damaged { what: format!("a body: {error}") })
}
