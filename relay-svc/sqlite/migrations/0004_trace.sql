-- The trace (W3C Trace Context) of the call that brought the message; empty for what came before.
ALTER TABLE message ADD COLUMN trace_id TEXT NOT NULL DEFAULT '';
