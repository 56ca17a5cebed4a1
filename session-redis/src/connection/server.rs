//! What a server reports about itself, and whether it can be used.

use redis::Value;
use session_core::Error;

use super::link::Link;
use crate::error::{NAME, Trouble};

/// The oldest version that has every command that the scripts use.
const OLDEST: (u32, u32) = (6, 2);

/// What a server reported about itself when the connection was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// The version of Redis, or of the Redis that the server is compatible with: `7.0.15`. Empty
    /// for a connection that the application made, `unknown` if the server does not report it.
    pub version: String,
    /// The policy by which the server deletes keys when its memory is full, if it can: the policy
    /// is not `noeviction`, and a limit is set. It can delete sessions, and the tombstones of ended
    /// ones.
    pub evicts_by: Option<String>,
}

impl ServerInfo {
    /// Returns the information for a connection that the application made.
    pub(super) fn unknown() -> Self {
        Self { version: String::new(), evicts_by: None }
    }

    pub(super) fn is_known(&self) -> bool {
        !self.version.is_empty()
    }

    /// Asks a server for its information, and checks it.
    pub(super) async fn of(link: &Link) -> Result<Self, Trouble> {
        let info = info(link.send(&redis::cmd("INFO")).await)?;
        let Some(info) = info else { return Ok(Self { version: "unknown".to_owned(), ..Self::unknown() }) };
        if field(&info, "redis_mode") == Some("cluster") {
            return Err(refused("a node of a cluster: name it as a cluster"));
        }
        if field(&info, "role").is_some_and(|role| role != "master") {
            let detail = "the server is a replica";
            return Err(Error::unavailable(NAME, "connect").with_detail(detail).into());
        }
        Self::judged(&info)
    }

    #[cfg(feature = "cluster")]
    pub(super) async fn of_cluster(link: &super::cluster::ClusterLink) -> Result<Self, Trouble> {
        let mut seen = Self { version: "unknown".to_owned(), ..Self::unknown() };
        for reply in link.of_each_primary(&redis::cmd("INFO")).await? {
            if let Some(info) = info(Ok(reply))? {
                seen = Self::judged(&info)?;
            }
        }
        Ok(seen)
    }

    fn judged(info: &str) -> Result<Self, Trouble> {
        let version = field(info, "redis_version").unwrap_or("unknown").to_owned();
        if numbers(&version).is_some_and(|version| version < OLDEST) {
            return Err(refused("Redis 6.2 or later is needed"));
        }
        let policy = field(info, "maxmemory_policy").filter(|policy| *policy != "noeviction");
        let evicts_by = policy.filter(|_| field(info, "maxmemory") != Some("0")).map(str::to_owned);
        if let Some(policy) = &evicts_by {
            tracing::warn!(
                backend = NAME,
                policy,
                "the server may delete sessions, and the tombstones of ended ones, when its memory is full; set maxmemory-policy noeviction",
            );
        }
        Ok(Self { version, evicts_by })
    }
}

fn refused(detail: &'static str) -> Trouble {
    Error::unsupported(NAME, "connect").with_detail(detail).into()
}

/// Returns the text, or `None` if this user may not run the command.
fn info(reply: redis::RedisResult<Value>) -> Result<Option<String>, Trouble> {
    match reply.and_then(Value::extract_error) {
        Ok(Value::BulkString(bytes)) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Ok(Value::VerbatimString { text, .. }) => Ok(Some(text)),
        Ok(_) => Ok(None),
        Err(error) if error.code() == Some("NOPERM") => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn field<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use session_core::ErrorKind;

    use super::*;

    fn judged(version: &str, policy: &str, limit: &str) -> Result<ServerInfo, ErrorKind> {
        let info = format!("redis_version:{version}\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n");
        ServerInfo::judged(&info).map_err(|trouble| trouble.into_error("connect").kind())
    }

    #[test]
    fn old_servers_are_refused() {
        assert_eq!(judged("6.0.16", "noeviction", "0"), Err(ErrorKind::Unsupported));
        assert_eq!(judged("5.0.7", "noeviction", "0"), Err(ErrorKind::Unsupported));
        for version in ["6.2.0", "7.0.15", "7.2.4", "8.0.1", "10.1.0"] {
            assert_eq!(judged(version, "noeviction", "0").unwrap().version, version);
        }
    }

    #[test]
    fn an_evicting_memory_policy_is_reported() {
        assert_eq!(
            judged("7.0.15", "allkeys-lru", "1000").unwrap().evicts_by.as_deref(),
            Some("allkeys-lru")
        );
        assert_eq!(
            judged("7.0.15", "volatile-ttl", "1000").unwrap().evicts_by.as_deref(),
            Some("volatile-ttl")
        );
        assert_eq!(judged("7.0.15", "allkeys-lru", "0").unwrap().evicts_by, None, "there is no limit");
        assert_eq!(judged("7.0.15", "noeviction", "1000").unwrap().evicts_by, None);
    }
}
