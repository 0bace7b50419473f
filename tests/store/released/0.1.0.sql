-- The database as 0.1.0 made it, with a row or two. Never changed: made anew for each release.
BEGIN TRANSACTION;
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    webhook_id   TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    journal_seq  INTEGER NOT NULL,
    chat         TEXT NOT NULL,          -- deliveries of one chat keep their order
    status       TEXT NOT NULL CHECK (status IN ('waiting', 'delivered', 'parked')),
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      REAL NOT NULL,
    last_status  INTEGER,
    last_error   TEXT,
    created_at   REAL NOT NULL,
    delivered_at REAL,
    UNIQUE (webhook_id, journal_seq)
) STRICT;
CREATE TABLE early_receipts (
    session_id TEXT NOT NULL,
    wa_id      TEXT NOT NULL,
    status     TEXT NOT NULL,
    at         REAL NOT NULL,
    PRIMARY KEY (session_id, wa_id, status)
) WITHOUT ROWID, STRICT;
CREATE TABLE idempotency (
    owner      TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    BLOB NOT NULL,            -- SHA-256 of the request
    status     INTEGER NOT NULL,
    answer     BLOB NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (owner, key)
) WITHOUT ROWID, STRICT;
CREATE TABLE journal (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       TEXT NOT NULL,
    session_id  TEXT NOT NULL,
    type        TEXT NOT NULL,
    at          REAL NOT NULL,
    data_sealed BLOB NOT NULL            -- JSON
) STRICT;
CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL,
    plan         TEXT NOT NULL,
    hash         BLOB NOT NULL,          -- SHA-256 of the key's secret part; the key itself is never stored
    created_at   REAL NOT NULL,
    last_used_at REAL,
    revoked_at   REAL,
    replaces     TEXT,                   -- the key that this one was rotated from: it sees the same sessions
    owner        TEXT NOT NULL           -- what sessions and messages belong to; rotation keeps it
) STRICT;
INSERT INTO "keys" VALUES('k1','old','admin','unlimited',X'00',1.0,NULL,NULL,NULL,'k1');
CREATE TABLE media (
    message_id  TEXT PRIMARY KEY,
    body_sealed BLOB NOT NULL,
    kept_until  REAL NOT NULL
) STRICT;
CREATE TABLE messages (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    owner          TEXT NOT NULL,
    session_id     TEXT NOT NULL,
    direction      TEXT NOT NULL CHECK (direction IN ('out', 'in')),
    kind           TEXT NOT NULL,
    chat           TEXT NOT NULL,        -- JID
    sender         TEXT NOT NULL DEFAULT '',        -- JID, of inbound messages (the PN where known)
    sender_lid     TEXT NOT NULL DEFAULT '',
    status         TEXT NOT NULL,        -- pending sent delivered read played failed | received
    stage          TEXT NOT NULL,        -- queued preparing waiting sending unconfirmed done
    wa_id          TEXT,
    facts          TEXT NOT NULL DEFAULT '{}',      -- JSON without content: seconds, size, mimetype, waveform, …
    payload_sealed BLOB,                 -- what is to be sent, or what arrived
    secret_sealed  BLOB,                 -- the message secret of the attempt under way
    attempts       INTEGER NOT NULL DEFAULT 0,
    not_before     REAL,
    error_code     TEXT,
    error_text     TEXT,
    may_have_been_delivered INTEGER NOT NULL DEFAULT 0,
    late_told      INTEGER NOT NULL DEFAULT 0,      -- the not-delivered warning is in the journal
    created_at     REAL NOT NULL,
    handed_at      REAL,
    sent_at        REAL,
    delivered_at   REAL,
    read_at        REAL,
    played_at      REAL,
    failed_at      REAL
) STRICT;
INSERT INTO "messages" VALUES(1,'m1','k1','s1','out','text','15550002222@s.whatsapp.net','','','delivered','done',NULL,'{}',NULL,NULL,0,NULL,NULL,NULL,0,0,1.0,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE sessions (
    id                TEXT PRIMARY KEY,
    owner             TEXT NOT NULL,
    session_key       TEXT NOT NULL,
    name              TEXT NOT NULL,
    status            TEXT NOT NULL,
    reason            TEXT NOT NULL,
    detail            TEXT NOT NULL DEFAULT '',
    since             REAL NOT NULL,
    until             REAL,
    jid               TEXT,
    lid               TEXT,
    push_name         TEXT NOT NULL DEFAULT '',
    platform          TEXT NOT NULL DEFAULT '',
    settings          TEXT NOT NULL DEFAULT '{}',   -- JSON: the session's own pacing and presence
    webhook_url       TEXT NOT NULL DEFAULT '',
    wrapped_key       BLOB,              -- the data key of the session's sealed file, under the master key; NULL: destroyed
    generation        INTEGER NOT NULL DEFAULT 0,   -- of the sealed file when it was last opened
    stopped           INTEGER NOT NULL DEFAULT 0,   -- disconnected by request: not opened at start
    restricted_until  REAL,              -- WhatsApp forbids new chats until then
    created_at        REAL NOT NULL,
    last_connected_at REAL,
    last_seen_at      REAL,
    UNIQUE (owner, session_key)
) STRICT;
INSERT INTO "sessions" VALUES('s1','k1','shop','Shop','connected','connected','',1.0,NULL,NULL,NULL,'','','{}','',X'0102',7,0,NULL,1.0,NULL,NULL);
CREATE TABLE usage (
    owner     TEXT NOT NULL,
    day       TEXT NOT NULL,             -- UTC, 2026-01-31
    accepted  INTEGER NOT NULL DEFAULT 0,
    sent      INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (owner, day)
) WITHOUT ROWID, STRICT;
CREATE TABLE webhooks (
    id            TEXT PRIMARY KEY,
    owner         TEXT NOT NULL,
    session_id    TEXT,                  -- NULL: all sessions of the owner
    url           TEXT NOT NULL,
    format        TEXT NOT NULL,         -- native, or a dialect's name
    types         TEXT NOT NULL,         -- JSON list; empty: all
    secret_sealed BLOB NOT NULL,
    position      INTEGER NOT NULL,      -- the last journal number that has become deliveries
    created_at    REAL NOT NULL
) STRICT;
CREATE INDEX keys_owner ON keys (owner);
CREATE INDEX messages_owner ON messages (owner, seq);
CREATE INDEX messages_accepted ON messages (owner, created_at) WHERE direction = 'out';
CREATE INDEX messages_wa_id ON messages (session_id, wa_id) WHERE wa_id IS NOT NULL;
CREATE UNIQUE INDEX messages_arrived ON messages (session_id, chat, sender, wa_id) WHERE direction = 'in';
CREATE INDEX journal_owner ON journal (owner, seq);
CREATE INDEX journal_session ON journal (session_id, seq);
CREATE INDEX webhooks_owner ON webhooks (owner);
CREATE INDEX deliveries_line ON deliveries (webhook_id, chat, seq) WHERE status <> 'delivered';
CREATE INDEX deliveries_order ON deliveries (webhook_id, seq) WHERE status <> 'delivered';
CREATE INDEX messages_late ON messages (sent_at) WHERE direction = 'out' AND status = 'sent' AND late_told = 0;
CREATE INDEX messages_waiting ON messages (session_id, chat, seq) WHERE direction = 'out' AND stage <> 'done';
CREATE INDEX messages_order   ON messages (session_id, seq) WHERE direction = 'out' AND stage <> 'done';
CREATE INDEX messages_sending ON messages (session_id, seq) WHERE direction = 'out' AND stage = 'sending';
CREATE INDEX messages_overdue ON messages (created_at, stage, session_id) WHERE direction = 'out' AND stage <> 'done';
CREATE INDEX messages_handed  ON messages (session_id, handed_at) WHERE direction = 'out' AND sent_at IS NOT NULL;
CREATE INDEX messages_session ON messages (owner, session_id, seq);
CREATE INDEX messages_chat    ON messages (owner, chat, seq);
CREATE INDEX messages_status  ON messages (owner, status, seq);
CREATE INDEX messages_done    ON messages (created_at) WHERE stage = 'done';
CREATE INDEX journal_at       ON journal (at);
COMMIT;
PRAGMA user_version = 3;
