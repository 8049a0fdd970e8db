-- The directory. An account and an alias share one namespace: `address` holds every address that
-- is taken, and the other tables hang on it.

CREATE TABLE domain (
  -- The order in which domains were added.
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1))
) STRICT;

CREATE TABLE address (
  domain TEXT NOT NULL REFERENCES domain (name),
  local_part TEXT NOT NULL,
  PRIMARY KEY (domain, local_part)
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
  -- The order in which accounts were added.
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id TEXT NOT NULL UNIQUE,
  mailbox_id TEXT NOT NULL UNIQUE,
  domain TEXT NOT NULL,
  local_part TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  -- Grows with every change: a remembered login names it.
  version INTEGER NOT NULL,
  UNIQUE (domain, local_part),
  FOREIGN KEY (domain, local_part) REFERENCES address (domain, local_part)
) STRICT;

CREATE TABLE alias (
  domain TEXT NOT NULL,
  local_part TEXT NOT NULL,
  PRIMARY KEY (domain, local_part),
  FOREIGN KEY (domain, local_part) REFERENCES address (domain, local_part)
) STRICT, WITHOUT ROWID;

CREATE TABLE alias_target (
  domain TEXT NOT NULL,
  local_part TEXT NOT NULL,
  -- Targets keep the order in which they were given.
  position INTEGER NOT NULL,
  target_domain TEXT NOT NULL,
  target_local_part TEXT NOT NULL,
  PRIMARY KEY (domain, local_part, position),
  FOREIGN KEY (domain, local_part) REFERENCES alias (domain, local_part),
  FOREIGN KEY (target_domain, target_local_part) REFERENCES address (domain, local_part)
) STRICT, WITHOUT ROWID;

CREATE INDEX alias_target_by_target
  ON alias_target (target_domain, target_local_part, domain, local_part);

-- Changes that were made, so that a repeated request gets its first answer (kept for an hour).
CREATE TABLE answered_request (
  request_id TEXT NOT NULL PRIMARY KEY,
  fingerprint TEXT NOT NULL,
  answer BLOB NOT NULL,
  -- Unix microseconds.
  answered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX answered_request_by_time ON answered_request (answered_at);
