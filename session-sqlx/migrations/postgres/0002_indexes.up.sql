-- A user's sessions, newest first: all sessions, and the active ones without the history.
CREATE INDEX "{name}_user_idx" ON {table} (user_id, created_at, id);
CREATE INDEX "{name}_active_idx" ON {table} (user_id, created_at, id) WHERE ended_at IS NULL;
-- Listings for operators.
CREATE INDEX "{name}_username_idx" ON {table} (username, created_at, id);
CREATE INDEX "{name}_created_idx" ON {table} (created_at, id);
-- The sweep and the purge.
CREATE INDEX "{name}_deadline_idx" ON {table} (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX "{name}_ended_idx" ON {table} (ended_at) WHERE ended_at IS NOT NULL;
