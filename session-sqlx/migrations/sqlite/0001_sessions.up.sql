-- Times are milliseconds since 1970, UTC. Text is compared byte by byte.
CREATE TABLE {table} (
    id BLOB NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL,
    user_id TEXT,
    username TEXT,
    kind TEXT NOT NULL,
    ended_reason TEXT,
    ended_at INTEGER,
    ended_by TEXT,
    created_at INTEGER NOT NULL,
    authenticated_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    idle_timeout INTEGER,
    -- When an active session expires: the earlier of its absolute and idle deadlines. NULL once ended.
    deadline_at INTEGER GENERATED ALWAYS AS (
        CASE
            WHEN ended_at IS NOT NULL THEN NULL
            WHEN idle_timeout IS NULL OR idle_timeout >= expires_at - last_seen_at THEN expires_at
            ELSE last_seen_at + idle_timeout
        END
    ) STORED,
    remembered INTEGER NOT NULL,
    credential_version INTEGER,
    secret BLOB,
    refresh BLOB,
    auth TEXT,
    ip_address TEXT,
    user_agent TEXT,
    device_kind TEXT,
    device_brand TEXT,
    device_model TEXT,
    os TEXT,
    os_version TEXT,
    browser TEXT,
    browser_version TEXT,
    geo_country_code TEXT,
    geo_country TEXT,
    geo_region TEXT,
    geo_city TEXT,
    geo_latitude REAL,
    geo_longitude REAL,
    last_ip_address TEXT,
    last_country_code TEXT,
    device_id BLOB,
    label TEXT,
    data BLOB NOT NULL
) STRICT;
