-- The sender was told that this recipient waits.
ALTER TABLE recipient ADD COLUMN delay_told boolean NOT NULL DEFAULT false;
