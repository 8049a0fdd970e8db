-- Message bodies, once by content.
--
-- sha256 is NULL while a body is staged in pieces: it is not yet known, and an unfinished body must
-- not be found.
CREATE TABLE body (
  body_id INTEGER PRIMARY KEY,
  sha256 BLOB UNIQUE,
  pieces INTEGER NOT NULL,
  reference_count INTEGER NOT NULL
);

-- piece_id is body_id * 65536 + index: a body's pieces lie side by side, and a new body's go to the
-- right edge of the tree. A piece whose stored length equals original_octets is stored raw, any other
-- is a zstd frame.
CREATE TABLE body_piece (
  piece_id INTEGER PRIMARY KEY,
  original_octets INTEGER NOT NULL,
  octets BLOB NOT NULL
);
