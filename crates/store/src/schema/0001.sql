CREATE TABLE state (
    only_one BIGINT NOT NULL PRIMARY KEY CHECK (only_one = 1),
    schema BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    floor BIGINT NOT NULL,
    audit_number BIGINT NOT NULL,
    audit_hash TEXT NOT NULL
) STRICT;

INSERT INTO state (only_one, schema, revision, floor, audit_number, audit_hash)
VALUES (1, 1, 0, 0, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE record (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT,
    uniq TEXT,
    revision BIGINT NOT NULL,
    body TEXT NOT NULL,
    sum BIGINT NOT NULL,
    expires_at BIGINT,
    used_at BIGINT,
    PRIMARY KEY (kind, id)
) STRICT;
CREATE UNIQUE INDEX record_uniq ON record (kind, uniq) WHERE uniq IS NOT NULL;
CREATE INDEX record_owner ON record (kind, owner, id) WHERE owner IS NOT NULL;
CREATE INDEX record_expires ON record (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tally (kind TEXT NOT NULL PRIMARY KEY, n BIGINT NOT NULL) STRICT;
INSERT INTO tally (kind, n) VALUES
    ('consumer', 0), ('key', 0), ('client', 0), ('user', 0), ('signing_key', 0), ('revoked_token', 0), ('admin_token', 0);

CREATE TABLE change (
    revision BIGINT NOT NULL,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (revision, kind, id)
) STRICT;

CREATE TABLE audit (
    number BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    body_before TEXT,
    body_after TEXT,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_subject ON audit (kind, subject, number);

CREATE TABLE code (
    hash TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    user_name TEXT NOT NULL,
    family TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    taken_at BIGINT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX code_client ON code (client);
CREATE INDEX code_user ON code (user_name);
CREATE INDEX code_expires ON code (expires_at);

CREATE TABLE family (
    id TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    user_name TEXT,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
) STRICT;
CREATE INDEX family_client ON family (client, user_name);
CREATE INDEX family_user ON family (user_name);
CREATE INDEX family_expires ON family (expires_at);

CREATE TABLE refresh (
    hash TEXT NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,
    client TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    rotated_at BIGINT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX refresh_family ON refresh (family);
CREATE INDEX refresh_expires ON refresh (expires_at);

CREATE TABLE access (
    id TEXT NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) STRICT;
CREATE INDEX access_family ON access (family);
CREATE INDEX access_expires ON access (expires_at);

CREATE TABLE session (
    hash TEXT NOT NULL PRIMARY KEY,
    user_name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) STRICT;
CREATE INDEX session_user_name ON session (user_name, created_at);
CREATE INDEX session_expires ON session (expires_at);

CREATE TABLE used_id (id TEXT NOT NULL PRIMARY KEY, expires_at BIGINT NOT NULL) STRICT;
CREATE INDEX used_id_expires ON used_id (expires_at);
