-- Mail, by mailbox first. Bodies are in services/storage's tables.

CREATE TABLE mailbox (
  -- 16 octets.
  mailbox_id BLOB PRIMARY KEY,
  -- When it came into being (Unix seconds): the first half of every UIDL.
  uid_validity INTEGER NOT NULL,
  -- Only grows, for as long as the row exists, and the row is never deleted: uids don't repeat.
  uid_next INTEGER NOT NULL,
  -- Of the rows in message, kept with them.
  messages INTEGER NOT NULL,
  octets INTEGER NOT NULL,
  -- NULL: the configured one.
  quota_messages INTEGER,
  quota_octets INTEGER
) WITHOUT ROWID;

CREATE TABLE message (
  mailbox_id BLOB NOT NULL,
  uid INTEGER NOT NULL,
  body_id INTEGER NOT NULL,
  -- Prefix and body: what LIST says.
  octets INTEGER NOT NULL,
  -- Header lines of this recipient, sent before the body.
  prefix BLOB NOT NULL,
  PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;

-- What was committed lately, so that a repeated Deliver has no second effect. The rows are in the
-- order of commits, which is how they are forgotten.
CREATE TABLE delivery (
  sequence INTEGER PRIMARY KEY,
  delivery_id BLOB NOT NULL UNIQUE,
  -- SHA-256 over recipients, prefixes and the body's hash.
  digest BLOB NOT NULL,
  -- Unix seconds.
  committed_at INTEGER NOT NULL
);

-- Grows with every start of the process, so that lease fences never repeat.
CREATE TABLE lease_epoch (
  epoch INTEGER NOT NULL
);
INSERT INTO lease_epoch VALUES (0);
