//! Validation on the memory store, compared with its floor.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use session_bench::Scene;

fn validate(criterion: &mut Criterion) {
    let scene = Scene::new(256);
    let floor = scene.floor();
    let mut group = criterion.benchmark_group("validate");
    // Each iteration runs a thousand validations, so that entering the runtime is negligible.
    group.throughput(criterion::Throughput::Elements(1_000));
    group.bench_function("ours", |bencher| {
        bencher.iter_batched(|| 1_000, |times| scene.validate(times), BatchSize::SmallInput);
    });
    group.bench_function("floor", |bencher| {
        bencher.iter_batched(|| 1_000, |times| floor.run(times), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, validate);
criterion_main!(benches);
