-- A user's sessions, newest first: all of them, and the active ones without the history.
CREATE INDEX "{name}_user" ON {table} (user_id, created_at, id);
CREATE INDEX "{name}_active" ON {table} (user_id, created_at, id) WHERE ended_at IS NULL;
-- Listings of operators.
CREATE INDEX "{name}_username" ON {table} (username, created_at, id);
CREATE INDEX "{name}_created" ON {table} (created_at, id);
-- The sweep, and the purge.
CREATE INDEX "{name}_deadline" ON {table} (deadline_at) WHERE ended_at IS NULL;
CREATE INDEX "{name}_ended" ON {table} (ended_at) WHERE ended_at IS NOT NULL;
