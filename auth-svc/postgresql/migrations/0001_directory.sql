-- The directory, as in auth-svc/sqlite. Names and addresses are in the order of their octets, whatever the database's locale.

CREATE TABLE domain (
  -- The order in which domains were added.
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  enabled integer NOT NULL CHECK (enabled IN (0, 1))
);

CREATE TABLE address (
  domain text COLLATE "C" NOT NULL REFERENCES domain (name),
  local_part text COLLATE "C" NOT NULL,
  PRIMARY KEY (domain, local_part)
);

CREATE TABLE account (
  -- The order in which accounts were added.
  position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id text COLLATE "C" NOT NULL UNIQUE,
  mailbox_id text COLLATE "C" NOT NULL UNIQUE,
  domain text COLLATE "C" NOT NULL,
  local_part text COLLATE "C" NOT NULL,
  password_hash text NOT NULL,
  enabled integer NOT NULL CHECK (enabled IN (0, 1)),
  -- Grows with every change: a remembered login names it.
  version bigint NOT NULL,
  UNIQUE (domain, local_part),
  FOREIGN KEY (domain, local_part) REFERENCES address (domain, local_part)
);

CREATE TABLE alias (
  domain text COLLATE "C" NOT NULL,
  local_part text COLLATE "C" NOT NULL,
  PRIMARY KEY (domain, local_part),
  FOREIGN KEY (domain, local_part) REFERENCES address (domain, local_part)
);

CREATE TABLE alias_target (
  domain text COLLATE "C" NOT NULL,
  local_part text COLLATE "C" NOT NULL,
  -- Targets keep the order in which they were given.
  position bigint NOT NULL,
  target_domain text COLLATE "C" NOT NULL,
  target_local_part text COLLATE "C" NOT NULL,
  PRIMARY KEY (domain, local_part, position),
  FOREIGN KEY (domain, local_part) REFERENCES alias (domain, local_part),
  FOREIGN KEY (target_domain, target_local_part) REFERENCES address (domain, local_part)
);

CREATE INDEX alias_target_by_target
  ON alias_target (target_domain, target_local_part, domain, local_part);

-- Changes that were made, so that a repeated request gets its first answer (kept for an hour).
CREATE TABLE answered_request (
  request_id text COLLATE "C" NOT NULL PRIMARY KEY,
  fingerprint text NOT NULL,
  answer bytea NOT NULL,
  -- Unix microseconds.
  answered_at bigint NOT NULL
);

CREATE INDEX answered_request_by_time ON answered_request (answered_at);
