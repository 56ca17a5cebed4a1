-- A user's sessions, newest first: all of them, and the active ones without the history.
CREATE INDEX {schema}"{name}_user" ON "{name}" (user_id, created_at, id);
CREATE INDEX {schema}"{name}_active" ON "{name}" (user_id, created_at, id) WHERE ended_at IS NULL;
-- Listings of operators.
CREATE INDEX {schema}"{name}_username" ON "{name}" (username, created_at, id);
CREATE INDEX {schema}"{name}_created" ON "{name}" (created_at, id);
-- The sweep, and the purge.
CREATE INDEX {schema}"{name}_deadline" ON "{name}" (deadline_at) WHERE ended_at IS NULL;
CREATE INDEX {schema}"{name}_ended" ON "{name}" (ended_at) WHERE ended_at IS NOT NULL;
