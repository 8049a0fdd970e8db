-- Accounts and aliases that an external directory (LDAP) keeps, as in auth-svc/sqlite.

-- Its name; '' for ours.
ALTER TABLE account ADD COLUMN source text COLLATE "C" NOT NULL DEFAULT '';
-- Its own name for the entry, and what changes there with the password.
ALTER TABLE account ADD COLUMN source_id text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN source_stamp text NOT NULL DEFAULT '';

CREATE UNIQUE INDEX account_by_source ON account (source, source_id) WHERE source <> '';

ALTER TABLE alias ADD COLUMN source text COLLATE "C" NOT NULL DEFAULT '';

-- Ways to log in beside the account's password, as in auth-svc/sqlite.

-- An RFC 5803 verifier, made with the password; '' when there is none.
ALTER TABLE account ADD COLUMN scram_sha_256 text NOT NULL DEFAULT '';

-- A domain offers SCRAM when nobody in it lacks a verifier.
CREATE INDEX account_without_scram ON account (domain) WHERE scram_sha_256 = '';

-- 0: any way to log in; 1: no account's own password.
ALTER TABLE domain ADD COLUMN login_policy integer NOT NULL DEFAULT 0 CHECK (login_policy IN (0, 1));

CREATE TABLE app_password (
  account_id text COLLATE "C" NOT NULL REFERENCES account (account_id) ON DELETE CASCADE,
  name text COLLATE "C" NOT NULL,
  -- Of 120 random bits: it needs no work factor, and names its row.
  hash text COLLATE "C" NOT NULL,
  -- 1: POP3; 2: submission; 3: both.
  uses integer NOT NULL CHECK (uses BETWEEN 1 AND 3),
  -- Unix microseconds; 0: never.
  created_at bigint NOT NULL,
  last_used_at bigint NOT NULL,
  PRIMARY KEY (account_id, name),
  UNIQUE (account_id, hash)
);

-- Who is postmaster where nobody is by name, as in auth-svc/sqlite.
CREATE INDEX account_by_age_in_domain ON account (domain, position) WHERE enabled = 1 AND source = '';
CREATE INDEX account_by_age ON account (position) WHERE enabled = 1 AND source = '';

-- Where aliases lead outside, as in auth-svc/sqlite.
CREATE TABLE alias_forward (
  domain text COLLATE "C" NOT NULL,
  local_part text COLLATE "C" NOT NULL,
  -- Forwards keep the order in which they were given.
  position bigint NOT NULL,
  forward_domain text COLLATE "C" NOT NULL,
  -- As it was given: elsewhere case may matter.
  forward_local_part text COLLATE "C" NOT NULL,
  PRIMARY KEY (domain, local_part, position),
  FOREIGN KEY (domain, local_part) REFERENCES alias (domain, local_part)
);

-- A domain that is to become ours may not be one of them.
CREATE INDEX alias_forward_by_domain ON alias_forward (forward_domain, domain, local_part);

-- Signs the senders of what is forwarded; at most one row.
CREATE TABLE srs_key (
  id integer PRIMARY KEY CHECK (id = 1),
  -- 32 random octets as hexadecimal digits.
  key text NOT NULL
);

-- Who may send as an alias. 0: those it leads to; 1: those in alias_sender alone.
ALTER TABLE alias ADD COLUMN senders integer NOT NULL DEFAULT 0 CHECK (senders IN (0, 1));

CREATE TABLE alias_sender (
  domain text COLLATE "C" NOT NULL,
  local_part text COLLATE "C" NOT NULL,
  account_id text COLLATE "C" NOT NULL REFERENCES account (account_id) ON DELETE CASCADE,
  PRIMARY KEY (domain, local_part, account_id),
  FOREIGN KEY (domain, local_part) REFERENCES alias (domain, local_part) ON DELETE CASCADE
);

-- Found when an account goes.
CREATE INDEX alias_sender_by_account ON alias_sender (account_id);
