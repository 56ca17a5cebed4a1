-- A user's sessions, newest first: all sessions, and the active ones without the history.
CREATE INDEX {schema}"{name}_user_idx" ON "{name}" (user_id, created_at, id);
CREATE INDEX {schema}"{name}_active_idx" ON "{name}" (user_id, created_at, id) WHERE ended_at IS NULL;
-- Listings for operators.
CREATE INDEX {schema}"{name}_username_idx" ON "{name}" (username, created_at, id);
CREATE INDEX {schema}"{name}_created_idx" ON "{name}" (created_at, id);
-- The sweep and the purge.
CREATE INDEX {schema}"{name}_deadline_idx" ON "{name}" (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX {schema}"{name}_ended_idx" ON "{name}" (ended_at) WHERE ended_at IS NOT NULL;
