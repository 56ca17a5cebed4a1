//! The guarantees of ephemeral servers, tested on every installed kind.
#![allow(missing_docs, clippy::unwrap_used)]

mod client;
mod lifecycle;
mod mongodb;
mod mongodb_client;
mod orphans;
mod pgbouncer;
mod processes;
mod proxy;
mod redis;
mod redis_cluster;
mod redis_sentinel;

use session_servers::{Kind, Options, Server};

/// Starts a server of this kind, and runs a claim on it.
fn on(kind: Kind, options: &Options, claim: impl FnOnce(Server)) {
    if let Some(server) = Server::for_test(kind, options).unwrap() {
        claim(server);
    }
}

/// Defines a test of each claim for each kind.
macro_rules! on_every_kind {
    ($($claim:ident),* $(,)?) => {
        mod postgres {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::Postgres); })*
        }
        mod mysql {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::Mysql); })*
        }
        mod redis {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::Redis); })*
        }
        mod mongodb {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::Mongodb); })*
        }
        mod mongodb_fail_points {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::MongodbFailPoints); })*
        }
        mod mongodb_standalone {
            $(#[test] fn $claim() { super::$claim(session_servers::Kind::MongodbStandalone); })*
        }
    };
}
use on_every_kind;
