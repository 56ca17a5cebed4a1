//! Lua scripts, which the server runs atomically.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Arg, Cmd};

/// A script, identified on the server by the hash of its text.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Begins a call with its keys. The caller appends the arguments.
    pub(crate) fn call(&self, keys: &[impl AsRef<str>]) -> Cmd {
        // Enough for a typical session and its keys.
        let mut command = Cmd::with_capacity(16, 1024);
        command.arg("EVALSHA").arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        command
    }

    /// Returns the same call with the script's text in place of its hash, for a server that does
    /// not know the script yet. The server knows it afterwards.
    pub(crate) fn with_text(&self, call: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for argument in call.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

/// Converts a duration to the milliseconds that commands take.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Defines scripts. Each is the concatenation of one or more files.
macro_rules! scripts {
    ($($name:ident = [$($file:literal),+]),+ $(,)?) => {$(
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!(concat!("scripts/", $file, ".lua"))),+)));
    )+};
}

scripts! {
    CACHE_PUT = ["cache_entry", "cache_put"],
    CACHE_REFUSE = ["cache_entry", "cache_refuse"],
    COUNT = ["record", "count"],
    CREATE = ["create"],
    CREATE_LIMITED = ["record", "create_limited"],
    END = ["record", "end"],
    END_USER = ["record", "device", "end_user"],
    ERASE = ["record", "erase"],
    EXPIRE = ["record", "expire"],
    LIST = ["record", "device", "list"],
    PURGE = ["record", "purge"],
    TOUCH = ["record", "touch"],
    UPDATE = ["update", "record", "update_otherwise"],
}
