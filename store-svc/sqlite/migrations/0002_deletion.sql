-- Messages that a session deletes, when they are too many for one commit that others wait for: once
-- they stand here they are deleted, and nobody opens the mailbox until they are gone.
CREATE TABLE deletion (
  mailbox_id BLOB NOT NULL,
  uid INTEGER NOT NULL,
  PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;
