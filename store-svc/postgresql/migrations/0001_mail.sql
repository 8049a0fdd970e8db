-- Mail. Bodies are in services/storage's tables. A shard stands first in every key (docs/adr/0036): every statement of a transaction is about one.

CREATE TABLE mailbox (
  shard integer NOT NULL,
  -- As in requests: 16 octets, or 20 with the shard before them.
  mailbox_id bytea NOT NULL,
  -- When it came into being (Unix seconds): the first half of every UIDL.
  uid_validity bigint NOT NULL,
  -- Only grows, for as long as the row exists, and the row is never deleted: uids don't repeat.
  uid_next bigint NOT NULL,
  -- Of the rows in message, kept with them.
  messages bigint NOT NULL,
  octets bigint NOT NULL,
  -- NULL: the configured one.
  quota_messages bigint,
  quota_octets bigint,
  PRIMARY KEY (shard, mailbox_id)
) WITH (fillfactor = 50);

CREATE TABLE message (
  shard integer NOT NULL,
  mailbox_id bytea NOT NULL,
  uid bigint NOT NULL,
  sha256 bytea NOT NULL,
  -- Prefix and body: what LIST says.
  octets bigint NOT NULL,
  -- Header lines of this recipient, sent before the body.
  prefix bytea NOT NULL,
  PRIMARY KEY (shard, mailbox_id, uid)
);

-- What was committed lately, so that a repeated Deliver has no second effect, whichever replica it comes to.
CREATE TABLE delivery (
  shard integer NOT NULL,
  delivery_id bytea NOT NULL,
  -- SHA-256 over recipients, prefixes and the body's hash.
  digest bytea NOT NULL,
  -- Unix seconds.
  committed_at bigint NOT NULL,
  PRIMARY KEY (shard, delivery_id)
);
CREATE INDEX delivery_by_time ON delivery (committed_at);

-- Messages that a session deletes, when they are too many for one commit that others wait for: once they stand here
-- they are deleted, and nobody opens the mailbox until they are gone.
CREATE TABLE deletion (
  shard integer NOT NULL,
  mailbox_id bytea NOT NULL,
  uid bigint NOT NULL,
  PRIMARY KEY (shard, mailbox_id, uid)
);

-- Replicas of store-svc, each while it lives. A number is never used again.
CREATE TABLE holder (
  holder_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  alive_until timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Who has a maildrop: its row stays when the session ends.
CREATE TABLE lease (
  shard integer NOT NULL,
  mailbox_id bytea NOT NULL,
  fence bigint NOT NULL,
  -- Changes whenever a stream takes the lease up again.
  hold bigint NOT NULL,
  credential bytea NOT NULL,
  -- Whose stream keeps it.
  holder_id bigint NOT NULL,
  -- NULL while a stream keeps it.
  free_after timestamptz,
  PRIMARY KEY (shard, mailbox_id)
) WITH (fillfactor = 50);
