//! Filling the index and following the catalogue: what the control side does, one change at a time.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use mainstay_core::catalogue::{ApiKey, Consumer, OauthClient, Sha256, SigningKey, User};
use mainstay_core::scopes::{ScopeNames, ScopeSet};

use super::intern::Interner;
use super::key::{ByKeyId, KeyId, KeyRecord, LastUsed, Restrictions, sha_hash};
use super::network::Network;
use super::people::{ClientEntry, ConsumerSlot, ConsumerState, Named, UserEntry, text_hash};
use super::table::Table;
use super::{AsOf, Index};

/// A change of the catalogue: a record that is there now, or one that is gone.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A consumer is there.
    Consumer(&'a Consumer),
    /// The consumer with this id is gone.
    ConsumerGone(&'a str),
    /// A key is there.
    Key(&'a ApiKey),
    /// The key with this id is gone.
    KeyGone(&'a str),
    /// An OAuth client is there.
    Client(&'a OauthClient),
    /// The OAuth client with this id is gone.
    ClientGone(&'a str),
    /// A user is there.
    User(&'a User),
    /// The user with this name is gone.
    UserGone(&'a str),
    /// A signing key is there.
    SigningKey(&'a SigningKey),
    /// The signing key with this id is gone.
    SigningKeyGone(&'a str),
}

/// What of a record could not be taken over. Nothing is wider for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Addresses that could not be read: they match nobody.
    pub unreadable_addresses: usize,
    /// Scopes for which there was no number left: nobody has them.
    pub scopes_left_out: usize,
}

impl Notes {
    /// Whether everything was taken over.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.unreadable_addresses += other.unreadable_addresses;
        self.scopes_left_out += other.scopes_left_out;
    }
}

/// What only writers need.
pub(super) struct Writer {
    /// Keys of the catalogue, by their ids.
    by_id: Table<Arc<KeyRecord>, ByKeyId>,
    scope_sets: Interner<ScopeSet>,
    restrictions: Interner<Restrictions>,
    file_consumers: HashMap<String, Consumer>,
    file_keys: HashMap<Sha256, ApiKey>,
    /// Nobody reads yet: parts of tables need not be copied, and the generation need not change.
    is_private: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            by_id: Table::new(),
            scope_sets: Interner::new(),
            restrictions: Interner::new(),
            file_consumers: HashMap::new(),
            file_keys: HashMap::new(),
            is_private: false,
        }
    }
}

/// An index that is being filled and that nobody reads yet, which is much faster than following changes.
#[derive(Debug)]
pub struct Loader(Index);

impl Loader {
    /// Takes an index that nobody else has seen.
    pub fn new(index: Index) -> Self {
        index.writer().is_private = true;
        Self(index)
    }

    /// Takes a record over.
    pub fn apply(&mut self, change: Change<'_>) -> Notes {
        self.0.apply(change)
    }

    /// Takes the configuration file's layer over, as [`Index::set_file`].
    pub fn set_file(&mut self, consumers: &[Consumer], keys: &[ApiKey]) -> Notes {
        self.0.set_file(consumers, keys)
    }

    /// Takes over what another index has of the configuration file.
    pub fn take_file(&mut self, from: &Index) -> Notes {
        let (consumers, keys): (Vec<_>, Vec<_>) = {
            let writer = from.writer();
            (writer.file_consumers.values().cloned().collect(), writer.file_keys.values().cloned().collect())
        };
        self.0.set_file(&consumers, &keys)
    }

    /// All records are there, as of then.
    pub fn finish(self, as_of: AsOf) -> Index {
        self.0.writer().is_private = false;
        self.0.set_as_of(as_of);
        self.0.changed();
        self.0
    }
}

impl Index {
    /// Takes a change over. Readers see it with their next lookup, and [`Index::generation`] changes after it is there; it
    /// does not change where the record is as it was.
    pub fn apply(&self, change: Change<'_>) -> Notes {
        let mut writer = self.writer();
        let writer = &mut *writer;
        match change {
            Change::Consumer(record) => self.put_consumer(writer, record, false),
            Change::ConsumerGone(id) => self.drop_consumer(writer, id),
            Change::Key(record) => return self.put_key(writer, record),
            Change::KeyGone(id) => return self.drop_key(writer, id),
            Change::Client(record) => return self.put_client(writer, record),
            Change::ClientGone(id) => {
                let change = |table: &mut Table<_, _>| {
                    table.remove(text_hash(id), |e: &Arc<ClientEntry>| e.id() == id)
                };
                if self.clients.change(text_hash(id), writer.is_private, change).is_some() {
                    self.bump(writer);
                }
            }
            Change::User(record) => self.put_user(writer, record),
            Change::UserGone(name) => {
                let change = |table: &mut Table<_, _>| {
                    table.remove(text_hash(name), |e: &Arc<UserEntry>| e.id() == name)
                };
                if self.users.change(text_hash(name), writer.is_private, change).is_some() {
                    self.bump(writer);
                }
            }
            Change::SigningKey(record) => self.put_signing_key(writer, &record.id, Some(record)),
            Change::SigningKeyGone(id) => self.put_signing_key(writer, id, None),
        }
        Notes::default()
    }

    /// Takes the consumers and keys of the configuration file over, in place of those of the file before. They lie under
    /// the catalogue's.
    pub fn set_file(&self, consumers: &[Consumer], keys: &[ApiKey]) -> Notes {
        let mut writer = self.writer();
        let writer = &mut *writer;
        let by_id = |record: &Consumer| (record.id.clone(), record.clone());
        let gone = std::mem::replace(&mut writer.file_consumers, consumers.iter().map(by_id).collect());
        for id in gone.keys().filter(|id| !writer.file_consumers.contains_key(*id)) {
            let slot = self.consumers.get(text_hash(id), |slot| slot.id() == id);
            if slot.is_some_and(|slot| slot.state.load().is_from_file) {
                self.drop_consumer(writer, id);
            }
        }
        for record in consumers {
            self.put_consumer(writer, record, true);
        }
        let by_hash = |record: &ApiKey| (record.sha256, record.clone());
        let gone = std::mem::replace(&mut writer.file_keys, keys.iter().map(by_hash).collect());
        for sha256 in gone.keys() {
            if !writer.file_keys.contains_key(sha256) {
                self.drop_hash(writer, sha256, |record| record.is_from_file);
            }
        }
        let mut notes = Notes::default();
        for record in keys {
            notes.add(self.put_file_key(writer, record));
        }
        notes
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The generation of what is being written.
    fn next_generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed) + 1
    }

    /// After a change is there for readers.
    fn bump(&self, writer: &Writer) {
        if !writer.is_private {
            self.changed();
        }
    }

    fn slot(&self, writer: &Writer, id: &str) -> Arc<ConsumerSlot> {
        let is_it = |slot: &Arc<ConsumerSlot>| slot.id() == id;
        self.consumers.get(text_hash(id), is_it).unwrap_or_else(|| {
            let slot = Arc::new(ConsumerSlot::unknown(id));
            let entry = Arc::clone(&slot);
            self.consumers.change(text_hash(id), writer.is_private, |table| table.insert(entry, is_it));
            slot
        })
    }

    fn put_consumer(&self, writer: &Writer, record: &Consumer, is_from_file: bool) {
        let slot = self.slot(writer, &record.id);
        let known = slot.state.load();
        let is_hidden = is_from_file && known.exists && !known.is_from_file;
        let state = ConsumerState::new(record, is_from_file, self.next_generation());
        if !is_hidden && !state.is_same_as(&known) {
            slot.state.store(Arc::new(state));
            self.bump(writer);
        }
    }

    fn drop_consumer(&self, writer: &Writer, id: &str) {
        let Some(slot) = self.consumers.get(text_hash(id), |slot| slot.id() == id) else { return };
        match writer.file_consumers.get(id) {
            // What the catalogue had hidden comes forth again.
            Some(record) => {
                let state = ConsumerState::new(record, true, self.next_generation());
                slot.state.store(Arc::new(state));
            }
            None => {
                let gone = ConsumerState { generation: self.next_generation(), ..ConsumerState::default() };
                slot.state.store(Arc::new(gone));
                self.forget_slot(writer, &slot);
            }
        }
        self.bump(writer);
    }

    /// Takes the place of a consumer out that does not exist and that no key points to.
    fn forget_slot(&self, writer: &Writer, slot: &Arc<ConsumerSlot>) {
        // The table's and this one.
        if slot.state.load().exists || Arc::strong_count(slot) > 2 {
            return;
        }
        let is_it = |entry: &Arc<ConsumerSlot>| Arc::ptr_eq(entry, slot);
        self.consumers.change(text_hash(slot.id()), writer.is_private, |table| {
            table.remove(text_hash(slot.id()), is_it)
        });
    }

    fn put_key(&self, writer: &mut Writer, record: &ApiKey) -> Notes {
        let (mut new, mut notes) = self.key_record(writer, record, false);
        let id_hash = text_hash(&record.id);
        let old = writer.by_id.find(id_hash, |it| it.id == new.id).cloned();
        if let Some(old) = &old {
            new.last_used = new.last_used.merged(&old.last_used);
            if new.is_same_as(old) {
                return notes;
            }
            if old.sha256 != new.sha256 {
                notes.add(self.drop_hash(writer, &old.sha256, |it| it.id == old.id));
            }
        }
        let new = Arc::new(new);
        writer.by_id.insert(Arc::clone(&new), |it| it.id == new.id);
        self.put_hash(writer, new);
        if let Some(slot) = old.map(|old| Arc::clone(&old.consumer)) {
            self.forget_slot(writer, &slot);
        }
        notes
    }

    fn put_file_key(&self, writer: &mut Writer, record: &ApiKey) -> Notes {
        let (mut new, notes) = self.key_record(writer, record, true);
        let known = self.keys.get(sha_hash(&new.sha256), |it| it.sha256 == new.sha256);
        match known {
            Some(known) if !known.is_from_file || new.is_same_as(&known) => {
                let slot = Arc::clone(&new.consumer);
                drop(new);
                self.forget_slot(writer, &slot);
            }
            known => {
                if let Some(known) = known {
                    new.last_used = new.last_used.merged(&known.last_used);
                }
                self.put_hash(writer, Arc::new(new));
            }
        }
        notes
    }

    fn put_hash(&self, writer: &Writer, record: Arc<KeyRecord>) {
        let sha256 = record.sha256;
        self.keys.change(sha_hash(&sha256), writer.is_private, |table| {
            table.insert(record, |it| it.sha256 == sha256)
        });
        self.bump(writer);
    }

    fn drop_key(&self, writer: &mut Writer, id: &str) -> Notes {
        let key_id = KeyId::new(id);
        match writer.by_id.remove(text_hash(id), |it| it.id == key_id) {
            Some(old) => self.drop_hash(writer, &old.sha256, |it| it.id == key_id && !it.is_from_file),
            None => Notes::default(),
        }
    }

    /// Takes a key out of the table of hashes if it is the one meant; what it had hidden comes forth again.
    fn drop_hash(
        &self,
        writer: &mut Writer,
        sha256: &Sha256,
        is_meant: impl Fn(&KeyRecord) -> bool,
    ) -> Notes {
        let removed = self.keys.change(sha_hash(sha256), writer.is_private, |table| {
            table.remove(sha_hash(sha256), |it| it.sha256 == *sha256 && is_meant(it))
        });
        let Some(removed) = removed else { return Notes::default() };
        self.bump(writer);
        let slot = Arc::clone(&removed.consumer);
        drop(removed);
        self.forget_slot(writer, &slot);
        match writer.file_keys.get(sha256).cloned() {
            Some(hidden) => self.put_file_key(writer, &hidden),
            None => Notes::default(),
        }
    }

    fn key_record(&self, writer: &mut Writer, record: &ApiKey, is_from_file: bool) -> (KeyRecord, Notes) {
        let (scopes, scopes_left_out) = scope_set(&self.scope_names, &record.scopes);
        let (restrictions, unreadable_addresses) = restrictions(record);
        let built = KeyRecord {
            sha256: record.sha256,
            id: KeyId::new(&record.id),
            consumer: self.slot(writer, &record.consumer),
            scopes: writer.scope_sets.intern(scopes),
            restrictions: restrictions.map(|it| writer.restrictions.intern(it)),
            expires_at_ms: record.expires_at.unwrap_or(i64::MAX),
            generation: self.next_generation(),
            last_used: LastUsed::stored(record.last_used_at),
            mode: record.mode,
            // At once, whatever this node's clock says: another node's may be ahead.
            is_revoked: record.revoked_at.is_some(),
            is_from_file,
        };
        (built, Notes { unreadable_addresses, scopes_left_out })
    }

    fn put_client(&self, writer: &mut Writer, record: &OauthClient) -> Notes {
        let id = record.id.as_str();
        let is_it = |entry: &Arc<ClientEntry>| entry.id() == id;
        if self.clients.get(text_hash(id), is_it).is_some_and(|known| known.record == *record) {
            return Notes::default();
        }
        let (scopes, scopes_left_out) = scope_set(&self.scope_names, &record.scopes);
        let entry = Arc::new(ClientEntry {
            record: record.clone(),
            id: id.into(),
            scopes: writer.scope_sets.intern(scopes),
            generation: self.next_generation(),
        });
        self.clients.change(text_hash(id), writer.is_private, |table| table.insert(entry, is_it));
        self.bump(writer);
        Notes { scopes_left_out, ..Notes::default() }
    }

    fn put_user(&self, writer: &Writer, record: &User) {
        let name = record.name.as_str();
        let is_it = |entry: &Arc<UserEntry>| entry.id() == name;
        let entry = UserEntry::new(record, self.next_generation());
        if !self.users.get(text_hash(name), is_it).is_some_and(|known| known.is_same_as(&entry)) {
            let entry = Arc::new(entry);
            self.users.change(text_hash(name), writer.is_private, |table| table.insert(entry, is_it));
            self.bump(writer);
        }
    }

    fn put_signing_key(&self, writer: &Writer, id: &str, record: Option<&SigningKey>) {
        let known = self.signing_keys.load_full();
        if known.iter().find(|key| key.id == id).map(|key| &**key) == record {
            return;
        }
        let others = known.iter().filter(|key| key.id != id).cloned();
        let mut keys: Vec<_> = others.chain(record.cloned().map(Arc::new)).collect();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        self.signing_keys.store(Arc::new(keys));
        self.bump(writer);
    }
}

/// The set of all names that have or get a number, and how many do not.
fn scope_set(names: &ScopeNames, scopes: &[String]) -> (ScopeSet, usize) {
    let all = scopes.iter().map(String::as_str);
    if let Ok(set) = names.give(all.clone()) {
        return (set, 0);
    }
    let left_out = all.clone().filter(|name| names.known([*name]).is_empty()).count();
    (names.known(all), left_out)
}

fn restrictions(record: &ApiKey) -> (Option<Restrictions>, usize) {
    if record.addresses.is_empty() && record.apis.is_empty() {
        return (None, 0);
    }
    let networks: Box<[Network]> = record.addresses.iter().filter_map(|text| Network::parse(text)).collect();
    let unreadable = record.addresses.len() - networks.len();
    let restrictions = Restrictions {
        addresses: (!record.addresses.is_empty()).then_some(networks),
        apis: (!record.apis.is_empty()).then(|| record.apis.iter().map(|api| api.as_str().into()).collect()),
    };
    (Some(restrictions), unreadable)
}
