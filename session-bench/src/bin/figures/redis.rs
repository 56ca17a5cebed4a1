//! The Redis store, compared with raw commands with the same bytes.

use std::sync::Arc;

use session_bench::redis::RedisScene;
use session_bench::{Figure, alternate, on_one_core};
use session_manager::{NewSession, SessionManager};

use crate::Measure;

/// The number of operations in a round.
const ROUND: u32 = 1_000;

pub(crate) const FIGURES: &[(&str, Measure)] = &[
    ("redis_load", redis_load),
    ("redis_load_64_at_once", redis_load_64_at_once),
    ("redis_validate_64_tasks", redis_validate_64_tasks),
    ("redis_create", redis_create),
    ("redis_update", redis_update),
];

fn on_one(name: &'static str, ours: fn(&RedisScene, u32), raw: fn(&RedisScene, u32), bar: f64) -> Figure {
    on_one_core(|| {
        let scene = RedisScene::new(1);
        Figure::ratio(name, alternate(ROUND, |times| ours(&scene, times), |times| raw(&scene, times)), bar)
    })
}

fn redis_load() -> Figure {
    on_one("redis_load", |scene, times| scene.load(times), RedisScene::raw_get, 1.10)
}

fn redis_create() -> Figure {
    on_one("redis_create", |scene, times| scene.create(times), RedisScene::raw_create, 1.35)
}

fn redis_update() -> Figure {
    on_one("redis_update", |scene, times| scene.update(times), RedisScene::raw_update, 1.25)
}

/// Batched loads for 64 tasks, compared with as many single `GET`s.
fn redis_load_64_at_once() -> Figure {
    let scene = RedisScene::new(2);
    let times = alternate(20_000, |times| scene.load_gathered(times), |times| scene.raw_get_at_once(times));
    Figure::ratio("redis_load_64_at_once", times, 0.4)
}

/// Complete validations, whose loads the manager batches, compared with single `GET`s.
fn redis_validate_64_tasks() -> Figure {
    let scene = RedisScene::new(2);
    let (manager, tokens) = scene.block_on(async {
        let manager = SessionManager::builder(Arc::clone(scene.store())).build().expect("a manager");
        let mut tokens = Vec::new();
        for user in 0..1_000_u64 {
            let new = NewSession::for_user(user.into()).with_username("jane.doe");
            tokens.push(manager.create(new).await.expect("a session").token.expose().to_string());
        }
        (manager, Arc::new(tokens))
    });
    let times = alternate(
        20_000,
        |times| scene.validate_at_once(&manager, &tokens, times),
        |times| scene.raw_get_at_once(times),
    );
    Figure::ratio("redis_validate_64_tasks", times, 0.8)
}
