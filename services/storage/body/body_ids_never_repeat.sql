-- Ids leave the transaction: a reader goes from piece to piece of a body by its id. Without
-- AUTOINCREMENT the id of a body that was deleted meanwhile could be another's.
ALTER TABLE body RENAME TO body_before;

CREATE TABLE body (
  body_id INTEGER PRIMARY KEY AUTOINCREMENT,
  sha256 BLOB UNIQUE,
  pieces INTEGER NOT NULL,
  reference_count INTEGER NOT NULL
);

INSERT INTO body SELECT body_id, sha256, pieces, reference_count FROM body_before;

DROP TABLE body_before;
