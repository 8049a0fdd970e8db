-- Bodies by their content. One of up to 256 KiB stands in its row; a larger one's pieces are in body_piece, under a key
-- that is never used again.
CREATE TABLE body (
  shard integer NOT NULL,
  sha256 bytea NOT NULL,
  reference_count bigint NOT NULL,
  -- Before compression (piece_codec.h); NULL, as octets, when there are pieces.
  original_octets integer,
  octets bytea,
  piece_key bytea,
  PRIMARY KEY (shard, sha256)
) WITH (toast_tuple_target = 8160);
-- They are compressed already.
ALTER TABLE body ALTER COLUMN octets SET STORAGE EXTERNAL;

CREATE TABLE body_piece (
  shard integer NOT NULL,
  piece_key bytea NOT NULL,
  position integer NOT NULL,
  original_octets integer NOT NULL,
  octets bytea NOT NULL,
  PRIMARY KEY (shard, piece_key, position)
);
ALTER TABLE body_piece ALTER COLUMN octets SET STORAGE EXTERNAL;

-- Pieces of a body that is on its way in: its row goes when the body stands in its table, or with the pieces when
-- nobody sent more of it for long.
CREATE TABLE staged_body (
  shard integer NOT NULL,
  piece_key bytea NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (shard, piece_key)
);
