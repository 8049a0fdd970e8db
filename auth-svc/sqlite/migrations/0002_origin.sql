-- Accounts and aliases that an external directory (LDAP) keeps.

-- Its name; '' for ours.
ALTER TABLE account ADD COLUMN source TEXT NOT NULL DEFAULT '';
-- Its own name for the entry, and what changes there with the password.
ALTER TABLE account ADD COLUMN source_id TEXT NOT NULL DEFAULT '';
ALTER TABLE account ADD COLUMN source_stamp TEXT NOT NULL DEFAULT '';

CREATE UNIQUE INDEX account_by_source ON account (source, source_id) WHERE source <> '';

ALTER TABLE alias ADD COLUMN source TEXT NOT NULL DEFAULT '';
