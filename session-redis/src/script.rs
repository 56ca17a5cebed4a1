//! The steps that are one for the server: Lua, one file each.

use std::sync::LazyLock;

use redis::{Arg, Cmd};

/// A script, known to the server by the hash of its text.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, hash: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Begins a call: the keys follow, then the arguments.
    pub(crate) fn call<'k>(&self, keys: impl ExactSizeIterator<Item = &'k str>) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.hash).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        command
    }

    /// The same call with the text instead of its hash, for a server that does not know it yet. It does afterwards.
    pub(crate) fn spelled_out(&self, call: &Cmd) -> Cmd {
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

macro_rules! scripts {
    ($($name:ident = $file:literal),+ $(,)?) => {$(
        pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("scripts/record.lua"), include_str!($file))));
    )+};
}

scripts! {
    COUNT = "scripts/count.lua",
    CREATE = "scripts/create.lua",
    CREATE_LIMITED = "scripts/create_limited.lua",
    END = "scripts/end.lua",
    END_USER = "scripts/end_user.lua",
    ERASE = "scripts/erase.lua",
    EXPIRE = "scripts/expire.lua",
    LIST = "scripts/list.lua",
    PURGE = "scripts/purge.lua",
    TOUCH = "scripts/touch.lua",
    UPDATE = "scripts/update.lua",
}
