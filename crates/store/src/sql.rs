//! Every statement, once, for both databases.
//!
//! Parameters are written as PostgreSQL does. To SQLite `$1` is a name that gets the next number where it first appears,
//! so they appear in order, and a test holds that.

/// The columns of a record, in the order in which `encode` reads them.
macro_rules! select_record {
    ($rest:literal) => {
        concat!("SELECT kind, id, owner, uniq, revision, body, sum, used_at FROM record ", $rest)
    };
}

macro_rules! delete_expired {
    ($table:literal, $key:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE expires_at <= $1 LIMIT $2)"
        )
    };
}

/// A table that a backup holds: its rows are read, written and removed as they are.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) insert: &'static str,
    pub(crate) clear: &'static str,
}

macro_rules! tables {
    ($($name:literal, $columns:literal, $values:literal, $order:literal;)*) => {
        /// Not among them: the state, which is the head of a backup, and what can be made anew.
        pub(crate) const TABLES: &[Table] = &[$(Table {
            name: $name,
            insert: concat!("INSERT INTO ", $name, " (", $columns, ") VALUES (", $values, ")"),
            clear: concat!("DELETE FROM ", $name),
        }),*];

        /// The state, then every row of every table.
        pub(crate) const BACKUP: &[&str] = &[
            "SELECT schema, revision, audit_number, audit_hash FROM state",
            $(concat!("SELECT ", $columns, " FROM ", $name, $order)),*
        ];
    };
}

tables! {
    "record", "kind, id, owner, uniq, revision, body, sum, used_at, expires_at", "$1, $2, $3, $4, $5, $6, $7, $8, $9", "";
    "audit", "number, at, actor, action, kind, subject, body_before, body_after, hash",
        "$1, $2, $3, $4, $5, $6, $7, $8, $9", " ORDER BY number";
    "code", "hash, client, user_name, family, expires_at, taken_at, body", "$1, $2, $3, $4, $5, $6, $7", "";
    "family", "id, client, user_name, expires_at, revoked_at", "$1, $2, $3, $4, $5", "";
    "refresh", "hash, family, client, expires_at, rotated_at, body", "$1, $2, $3, $4, $5, $6", "";
    "access", "id, family, expires_at", "$1, $2, $3", "";
    "session", "hash, user_name, created_at, expires_at", "$1, $2, $3, $4", "";
    "used_id", "id, expires_at", "$1, $2", "";
}

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $sql;)*
        /// All of them, for the tests.
        #[cfg(test)]
        pub(crate) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// Everything that the index needs, owners before what they own.
pub(crate) const LOAD: [&str; 8] = [
    REVISION,
    select_record!("WHERE kind = 'consumer'"),
    // There may be a million: in the order of the table, where the index would lead from page to page and back.
    select_record!("WHERE kind || '' = 'key'"),
    select_record!("WHERE kind = 'client'"),
    select_record!("WHERE kind = 'user'"),
    select_record!("WHERE kind = 'signing_key'"),
    select_record!("WHERE kind = 'revoked_token'"),
    select_record!("WHERE kind = 'admin_token'"),
];

statements! {
    // The state of the whole: one row. Changes of the catalogue lock it first, so they are committed in the order of
    // their revisions, and the audit is one chain.
    SCHEMA = "SELECT schema FROM state";
    SET_SCHEMA = "UPDATE state SET schema = $1";
    LOCK_STATE = "UPDATE state SET schema = schema";
    REVISION = "SELECT revision, floor FROM state";
    NEXT_REVISION = "UPDATE state SET revision = revision + 1 RETURNING revision, audit_number, audit_hash";
    SET_FLOOR = "UPDATE state SET floor = $1";
    AUDIT_HEAD = "SELECT audit_number, audit_hash FROM state";
    SET_AUDIT_HEAD = "UPDATE state SET audit_number = $1, audit_hash = $2";
    RESTORE_STATE =
        "UPDATE state SET revision = $1, floor = $2, audit_number = $3, audit_hash = $4";

    // Records.
    RECORD = select_record!("WHERE kind = $1 AND id = $2");
    RECORDS = select_record!("WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3");
    RECORDS_OWNED = select_record!("WHERE kind = $1 AND owner = $2 AND id > $3 ORDER BY id LIMIT $4");
    RECORD_BY_UNIQ = "SELECT id FROM record WHERE kind = $1 AND uniq = $2";
    RECORD_INSERT = "INSERT INTO record (kind, id, owner, uniq, revision, body, sum, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    RECORD_UPDATE = "UPDATE record SET owner = $1, uniq = $2, revision = $3, body = $4, sum = $5, expires_at = $6 \
        WHERE kind = $7 AND id = $8";
    RECORD_DELETE = "DELETE FROM record WHERE kind = $1 AND id = $2";
    RECORD_RESEAL = "UPDATE record SET body = $1, sum = $2 WHERE kind = $3 AND id = $4";
    RECORDS_OWNED_COUNT = "SELECT count(*) FROM (SELECT 1 FROM record WHERE kind = $1 AND owner = $2 LIMIT $3) AS found";
    RECORDS_OWNED_IDS = "SELECT id FROM record WHERE kind = $1 AND owner = $2";
    RECORDS_OWNED_CHANGED = "INSERT INTO change (revision, kind, id) \
        SELECT CAST($1 AS BIGINT), kind, id FROM record WHERE kind = $2 AND owner = $3";
    RECORDS_OWNED_DELETE = "DELETE FROM record WHERE kind = $1 AND owner = $2";
    REVOKED_INSERT = "INSERT INTO record (kind, id, owner, uniq, revision, body, sum, expires_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (kind, id) DO NOTHING";
    KEY_USED = "UPDATE record SET used_at = $1 WHERE kind = 'key' AND id = $2 AND (used_at IS NULL OR used_at < $3)";

    // How many records of a kind there are; counting a million for each new one would take seconds.
    TALLY_UP = "UPDATE tally SET n = n + $1 WHERE kind = $2 AND n + $3 <= $4";
    TALLY_DOWN = "UPDATE tally SET n = n - $1 WHERE kind = $2";
    TALLY_SET = "UPDATE tally SET n = (SELECT count(*) FROM record WHERE record.kind = tally.kind)";

    // What changed, for those who follow.
    CHANGE_INSERT = "INSERT INTO change (revision, kind, id) VALUES ($1, $2, $3)";
    CHANGES = "SELECT r.kind, r.id, r.owner, r.uniq, r.revision, r.body, r.sum, r.used_at, c.revision, c.kind, c.id \
        FROM change c LEFT JOIN record r ON r.kind = c.kind AND r.id = c.id \
        WHERE c.revision > $1 ORDER BY c.revision, c.kind, c.id LIMIT $2";
    CHANGES_OLD = "SELECT max(revision) FROM \
        (SELECT revision FROM change WHERE revision <= $1 ORDER BY revision LIMIT $2) AS old";
    CHANGES_DELETE = "DELETE FROM change WHERE revision <= $1";

    // The audit.
    AUDIT_INSERT = "INSERT INTO audit (number, at, actor, action, kind, subject, body_before, body_after, hash) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    AUDIT_FROM = "SELECT number, at, actor, action, kind, subject, body_before, body_after, hash FROM audit \
        WHERE number > $1 ORDER BY number LIMIT $2";
    AUDIT_PAGE = "SELECT number, at, actor, action, kind, subject, body_before, body_after, hash FROM audit \
        WHERE number < $1 AND (CAST($2 AS TEXT) IS NULL OR kind = $2) AND (CAST($3 AS TEXT) IS NULL OR subject = $3) \
        ORDER BY number DESC LIMIT $4";

    // Authorisation codes.
    CODE_INSERT = "INSERT INTO code (hash, client, user_name, family, expires_at, body) VALUES ($1, $2, $3, $4, $5, $6)";
    CODE_TAKE = "UPDATE code SET taken_at = $1 WHERE hash = $2 AND client = $3 AND taken_at IS NULL RETURNING body";
    CODE_FAMILY = "SELECT family FROM code WHERE hash = $1 AND client = $2";
    CODES_COUNT = "SELECT count(*) FROM (SELECT 1 FROM code WHERE client = $1 LIMIT $2) AS found";

    // Families of refresh tokens. The row of a family is what two nodes with tokens of it meet at: it is locked first.
    FAMILY_TOUCH = "INSERT INTO family (id, client, user_name, expires_at) VALUES ($1, $2, $3, $4) \
        ON CONFLICT (id) DO UPDATE SET expires_at = CASE WHEN family.expires_at > excluded.expires_at \
        THEN family.expires_at ELSE excluded.expires_at END RETURNING revoked_at";
    FAMILY_EXTEND = "UPDATE family SET expires_at = CASE WHEN expires_at > $1 THEN expires_at ELSE $1 END \
        WHERE id = $2 RETURNING revoked_at";
    FAMILY_STATE = "SELECT revoked_at FROM family WHERE id = $1";
    FAMILY_REVOKE = "UPDATE family SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    FAMILIES_COUNT = "SELECT count(*) FROM \
        (SELECT 1 FROM family WHERE client = $1 AND user_name = $2 LIMIT $3) AS found";
    REFRESH_INSERT = "INSERT INTO refresh (hash, family, client, expires_at, body) VALUES ($1, $2, $3, $4, $5)";
    REFRESH = "SELECT family, expires_at, rotated_at, body FROM refresh WHERE hash = $1 AND client = $2";
    REFRESH_ROTATE = "UPDATE refresh SET rotated_at = $1 WHERE hash = $2 AND rotated_at IS NULL";
    ACCESS_INSERT = "INSERT INTO access (id, family, expires_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    ACCESS_ALIVE = "SELECT id, expires_at FROM access WHERE family = $1 AND expires_at > $2";

    // Browser sessions, and ids that may be shown once.
    SESSION_INSERT = "INSERT INTO session (hash, user_name, created_at, expires_at) VALUES ($1, $2, $3, $4)";
    SESSION = "SELECT user_name, created_at, expires_at FROM session WHERE hash = $1 AND expires_at > $2";
    SESSION_DELETE = "DELETE FROM session WHERE hash = $1";
    SESSIONS_DELETE = "DELETE FROM session WHERE user_name = $1";
    SESSIONS_COUNT = "SELECT count(*) FROM (SELECT 1 FROM session WHERE user_name = $1 LIMIT $2) AS found";
    SESSIONS_DELETE_OLDEST = "DELETE FROM session WHERE hash IN \
        (SELECT hash FROM session WHERE user_name = $1 ORDER BY created_at, hash LIMIT 1)";
    USED_ID_INSERT = "INSERT INTO used_id (id, expires_at) VALUES ($1, $2) \
        ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at WHERE used_id.expires_at <= $3";

    // What a client or a user leaves behind.
    ACCESS_OF_CLIENT_DELETE = "DELETE FROM access WHERE family IN (SELECT id FROM family WHERE client = $1)";
    ACCESS_OF_USER_DELETE = "DELETE FROM access WHERE family IN (SELECT id FROM family WHERE user_name = $1)";
    REFRESH_OF_CLIENT_DELETE = "DELETE FROM refresh WHERE family IN (SELECT id FROM family WHERE client = $1)";
    REFRESH_OF_USER_DELETE = "DELETE FROM refresh WHERE family IN (SELECT id FROM family WHERE user_name = $1)";
    FAMILIES_OF_CLIENT_DELETE = "DELETE FROM family WHERE client = $1";
    FAMILIES_OF_USER_DELETE = "DELETE FROM family WHERE user_name = $1";
    CODES_OF_CLIENT_DELETE = "DELETE FROM code WHERE client = $1";
    CODES_OF_USER_DELETE = "DELETE FROM code WHERE user_name = $1";

    // What has expired.
    CODES_EXPIRED = delete_expired!("code", "hash");
    REFRESH_EXPIRED = delete_expired!("refresh", "hash");
    ACCESS_EXPIRED = delete_expired!("access", "id");
    FAMILIES_EXPIRED = delete_expired!("family", "id");
    SESSIONS_EXPIRED = delete_expired!("session", "hash");
    USED_IDS_EXPIRED = delete_expired!("used_id", "id");
    REVOKED_EXPIRED = "DELETE FROM record WHERE kind = 'revoked_token' AND id IN \
        (SELECT id FROM record WHERE kind = 'revoked_token' AND expires_at <= $1 LIMIT $2)";
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn parameters_appear_in_the_order_of_their_numbers() {
        for (name, sql) in ALL {
            let mut highest = 0;
            for piece in sql.split('$').skip(1) {
                let digits: String = piece.chars().take_while(char::is_ascii_digit).collect();
                let number: usize = digits.parse().unwrap_or_else(|_| panic!("{name}: {sql}"));
                assert!(number <= highest + 1, "{name}: ${number} comes before ${}", highest + 1);
                highest = highest.max(number);
            }
        }
    }
}
