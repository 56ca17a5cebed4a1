//! The MongoDB store, compared with the driver's own calls.

use session_bench::mongo::MongoScene;
use session_bench::{Figure, alternate, on_one_core};

use crate::Measure;

/// The number of operations in a round.
const ROUND: u32 = 500;

pub(crate) const FIGURES: &[(&str, Measure)] = &[
    ("mongodb_load", mongodb_load),
    ("mongodb_load_64_at_once", mongodb_load_64_at_once),
    ("mongodb_create", mongodb_create),
    ("mongodb_update", mongodb_update),
];

fn on_one(name: &'static str, ours: fn(&MongoScene, u32), raw: fn(&MongoScene, u32), bar: f64) -> Figure {
    on_one_core(|| {
        let scene = MongoScene::new(1);
        Figure::ratio(name, alternate(ROUND, |times| ours(&scene, times), |times| raw(&scene, times)), bar)
    })
}

fn mongodb_load() -> Figure {
    on_one("mongodb_load", |scene, times| scene.load(times), MongoScene::raw_find, 1.10)
}

fn mongodb_create() -> Figure {
    on_one("mongodb_create", |scene, times| scene.create(times), MongoScene::raw_create, 1.25)
}

fn mongodb_update() -> Figure {
    on_one("mongodb_update", |scene, times| scene.update(times), MongoScene::raw_update, 1.5)
}

/// Batched loads for 64 tasks, compared with as many single finds on the driver's pool.
fn mongodb_load_64_at_once() -> Figure {
    let scene = MongoScene::new(2);
    let times = alternate(10_000, |times| scene.load_gathered(times), |times| scene.raw_find_at_once(times));
    Figure::ratio("mongodb_load_64_at_once", times, 0.5)
}
