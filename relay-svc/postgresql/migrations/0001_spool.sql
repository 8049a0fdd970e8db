-- The spool. Bodies are in services/storage's tables. Times are microseconds since 1970 (UTC). All of it is in shard 0 until
-- a queue is too much for one server; the keys are ready (docs/adr/0038).

CREATE TABLE message (
  shard integer NOT NULL,
  queue_id text COLLATE "C" NOT NULL,
  -- Addresses and replies are octets: what comes from outside need not be text.
  sender bytea NOT NULL,
  octets bigint NOT NULL,
  enqueued_at bigint NOT NULL,
  held boolean NOT NULL DEFAULT false,
  smtputf8 boolean NOT NULL,
  eight_bit boolean NOT NULL,
  trace_id text NOT NULL,
  sha256 bytea NOT NULL,
  PRIMARY KEY (shard, queue_id)
);
CREATE INDEX message_by_arrival ON message (enqueued_at, queue_id);

CREATE TABLE recipient (
  shard integer NOT NULL,
  queue_id text COLLATE "C" NOT NULL,
  -- In the order of the envelope.
  position bigint NOT NULL,
  address bytea NOT NULL,
  destination bytea NOT NULL,
  -- 0 waiting, 1 delivered, 2 failed.
  state smallint NOT NULL DEFAULT 0,
  -- As the message's, for the index below.
  held boolean NOT NULL DEFAULT false,
  attempts integer NOT NULL DEFAULT 0,
  -- Of one that is claimed: when the claim runs out.
  next_attempt_at bigint NOT NULL,
  -- Whoever works on it; NULL: nobody.
  claim bytea,
  last_result bytea NOT NULL DEFAULT '',
  PRIMARY KEY (shard, queue_id, position)
) WITH (fillfactor = 70);
CREATE INDEX recipient_due ON recipient (next_attempt_at, queue_id, position) INCLUDE (destination)
  WHERE state = 0 AND NOT held;
CREATE INDEX recipient_claimed ON recipient (destination) WHERE claim IS NOT NULL;

-- What was committed under which id, kept for a day after the commit whatever became of the message.
CREATE TABLE delivery (
  shard integer NOT NULL,
  delivery_id bytea NOT NULL,
  digest bytea NOT NULL,
  queue_id text NOT NULL,
  committed_at bigint NOT NULL,
  PRIMARY KEY (shard, delivery_id)
);
CREATE INDEX delivery_by_time ON delivery (committed_at);

-- How many messages there are: the sum. Several rows, so that those who commit at the same time seldom meet in one.
CREATE TABLE queue_size (
  shard integer NOT NULL,
  slot integer NOT NULL,
  messages bigint NOT NULL,
  PRIMARY KEY (shard, slot)
) WITH (fillfactor = 10);
INSERT INTO queue_size SELECT 0, slot, 0 FROM generate_series(0, 15) AS slot;
