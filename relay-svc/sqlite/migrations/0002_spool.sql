-- Times are microseconds since 1970 (UTC).
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue_id TEXT NOT NULL UNIQUE,
  sender TEXT NOT NULL,
  octets INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  held INTEGER NOT NULL DEFAULT 0,
  smtputf8 INTEGER NOT NULL,
  eight_bit INTEGER NOT NULL,
  body_id INTEGER NOT NULL
) STRICT;

-- state: 0 waiting, 1 delivered, 2 failed. `held` repeats the message's, for the index below.
CREATE TABLE recipient (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id INTEGER NOT NULL REFERENCES message (id),
  address TEXT NOT NULL,
  destination TEXT NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_attempt_at INTEGER NOT NULL,
  last_result TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX recipient_by_message ON recipient (message_id);
CREATE INDEX recipient_due ON recipient (next_attempt_at, id) WHERE state = 0 AND held = 0;

-- What was committed under which id, kept for a day after the commit whatever became of the message.
CREATE TABLE delivery (
  delivery_id BLOB PRIMARY KEY,
  digest BLOB NOT NULL,
  queue_id TEXT NOT NULL,
  committed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_by_time ON delivery (committed_at);
