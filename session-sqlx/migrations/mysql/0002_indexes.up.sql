-- One statement, because MySQL commits after each: either all indexes exist or none.
ALTER TABLE {table}
    -- A user's sessions, newest first: all sessions, and those of one state.
    ADD INDEX `{name}_user_idx` (user_id, created_at, id),
    ADD INDEX `{name}_active_idx` (user_id, ended_at, created_at, id),
    -- Listings for operators.
    ADD INDEX `{name}_username_idx` (username, created_at, id),
    ADD INDEX `{name}_created_idx` (created_at, id),
    -- The sweep and the purge.
    ADD INDEX `{name}_deadline_idx` (deadline_at),
    ADD INDEX `{name}_ended_idx` (ended_at);
