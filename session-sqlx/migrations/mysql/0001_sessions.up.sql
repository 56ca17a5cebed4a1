-- MySQL commits after each statement, so each statement can be repeated.
-- Times are milliseconds since 1970, UTC. Text that is compared is VARBINARY, because no collation
-- that all versions have compares byte by byte and respects trailing spaces.
CREATE TABLE IF NOT EXISTS {table} (
    id BINARY(16) NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    user_id VARBINARY(255),
    username VARBINARY(255),
    kind VARBINARY(20) NOT NULL,
    ended_reason VARBINARY(40),
    ended_at BIGINT,
    ended_by VARBINARY(300),
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
    secret VARBINARY(1000),
    refresh VARBINARY(1000),
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
    geo_latitude DOUBLE,
    geo_longitude DOUBLE,
    last_ip_address VARCHAR(45),
    last_country_code VARCHAR(2),
    device_id BINARY(16),
    label VARCHAR(100),
    data LONGBLOB NOT NULL
)
ENGINE = InnoDB ROW_FORMAT = DYNAMIC CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
-- A sign-in under a limit locks one of these rows, so that two sign-ins of one user run one after the
-- other. A user always maps to the same row.
CREATE TABLE IF NOT EXISTS {locks} (stripe SMALLINT NOT NULL PRIMARY KEY) ENGINE = InnoDB;
INSERT IGNORE INTO {locks} (stripe)
WITH RECURSIVE stripes (stripe) AS (SELECT 0 UNION ALL SELECT stripe + 1 FROM stripes WHERE stripe < 255)
SELECT stripe FROM stripes;
