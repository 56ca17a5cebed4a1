#![cfg_attr(
    all(
        feature = "axum",
        feature = "memory",
        feature = "mongodb",
        feature = "postgres",
        feature = "redis"
    ),
    doc = include_str!("../README.md")
)]
#![cfg_attr(
    not(all(
        feature = "axum",
        feature = "memory",
        feature = "mongodb",
        feature = "postgres",
        feature = "redis"
    )),
    doc = "Server-side sessions on the storage that you already run."
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub use session_core as core;

pub use session_core::{
    Actor, AssuranceLevel, AuthEvent, AuthMethod, ClientInfo, Clock, CountryCode, Cursor, DataLimits,
    Deadline, DeviceId, DeviceKind, EndReason, Ended, Error, ErrorKind, Event, EventKind, EventSink, Expiry,
    ExpiryPolicy, GeoLocation, Lifetime, LimitScope, ListQuery, OnExceed, PepperRing, RefreshToken, Result,
    Scope, SecretFormat, SessionData, SessionId, SessionKind, SessionLimit, SessionRecord, SessionStatus,
    SessionStore, SessionToken, StoreStats, SystemClock, Timestamp, UserDirectory, UserId, UserStatus, rules,
};
pub use session_manager::{
    Authentication, ClientView, ConflictPolicy, Created, EndView, Ensured, EraseReport, ExportedSession,
    ExternalSession, Found, Health, NewSession, Paging, Provenance, RecordIp, RecordUserAgent, Recording,
    RefreshPolicy, Refreshed, Rejection, ReuseEnds, Session, SessionEdit, SessionInfo, SessionManager,
    SessionManagerBuilder, SessionPage, Source, StepUp, SweepReport, TierHealth, TieredStore, Tiers,
    TransferCode, UserExport, UserLimit, ValidateError,
};

#[cfg(feature = "memory")]
pub use session_memory::MemoryStore;
#[cfg(feature = "moka")]
pub use session_memory::MokaCache;

#[cfg(feature = "axum")]
pub use session_axum as axum;

#[cfg(feature = "mongodb")]
pub use session_mongo as mongodb;

#[cfg(feature = "mongodb")]
pub use session_mongo::MongoStore;

#[cfg(feature = "redis")]
pub use session_redis as redis;

#[cfg(feature = "redis")]
pub use session_redis::{RedisBus, RedisCache, RedisStore};

#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub use session_sqlx as sqlx;

#[cfg(feature = "mysql")]
pub use session_sqlx::MysqlStore;
#[cfg(feature = "sqlite")]
pub use session_sqlx::SqliteStore;
#[cfg(feature = "postgres")]
pub use session_sqlx::{PostgresBus, PostgresCache, PostgresStore};
