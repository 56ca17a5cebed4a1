-- Times are milliseconds since 1970, UTC. Text that is compared has the byte-wise collation "C".
CREATE TABLE {table} (
    id UUID NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    user_id VARCHAR(255) COLLATE "C",
    username VARCHAR(255) COLLATE "C",
    kind VARCHAR(20) COLLATE "C" NOT NULL,
    ended_reason VARCHAR(40) COLLATE "C",
    ended_at BIGINT,
    ended_by VARCHAR(300) COLLATE "C",
    created_at BIGINT NOT NULL,
    authenticated_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    idle_timeout BIGINT,
    -- When an active session expires: the earlier of its absolute and idle deadlines. NULL once ended.
    deadline_at BIGINT GENERATED ALWAYS AS (
        CASE
            WHEN ended_at IS NOT NULL THEN NULL
            WHEN idle_timeout IS NULL OR idle_timeout >= expires_at - last_seen_at THEN expires_at
            ELSE last_seen_at + idle_timeout
        END
    ) STORED,
    remembered BOOLEAN NOT NULL,
    credential_version BIGINT,
    secret BYTEA,
    refresh BYTEA,
    auth TEXT,
    ip_address VARCHAR(45),
    user_agent TEXT,
    device_kind VARCHAR(20),
    device_brand VARCHAR(300),
    device_model VARCHAR(300),
    os VARCHAR(300),
    os_version VARCHAR(300),
    browser VARCHAR(300),
    browser_version VARCHAR(300),
    geo_country_code VARCHAR(2),
    geo_country VARCHAR(300),
    geo_region VARCHAR(300),
    geo_city VARCHAR(300),
    geo_latitude DOUBLE PRECISION,
    geo_longitude DOUBLE PRECISION,
    last_ip_address VARCHAR(45),
    last_country_code VARCHAR(2),
    device_id UUID,
    label VARCHAR(100),
    data BYTEA NOT NULL
)
-- Free space on each page, so that an updated row stays on its page and its index entries stay valid.
WITH (fillfactor = 80);
