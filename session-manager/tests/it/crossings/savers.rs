//! Many savers of one session, within a process and across processes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use session_conformance::faults::Fault;
use session_core::{Actor, ErrorKind};
use session_manager::{ConflictPolicy, Session};

use crate::world::{World, kind};

async fn handles(world: &World, count: usize) -> Vec<Session> {
    let token = world.sign_in("ann").await.token.expose();
    let mut handles = Vec::new();
    for _ in 0..count {
        handles.push(world.validate(&token).await.unwrap());
    }
    world.faults.reset_calls();
    handles
}

#[tokio::test(start_paused = true)]
async fn parallel_savers_of_different_keys_all_succeed_in_few_writes() {
    let world = World::new();
    let handles = handles(&world, 32).await;
    world.faults.arm(Fault::delay(Duration::from_millis(3)).on("update"));
    for (number, handle) in handles.iter().enumerate() {
        handle.insert(format!("key {number}"), &number).unwrap();
    }
    let began = tokio::time::Instant::now();
    let saved = join_all(handles.iter().map(Session::save)).await;
    assert!(saved.iter().all(Result::is_ok), "{saved:?}");
    assert!(began.elapsed() <= Duration::from_millis(20), "{:?}", began.elapsed());
    assert!(world.faults.calls("update") <= 3, "{} writes", world.faults.calls("update"));
    assert_eq!(world.data(handles[0].id()).await.as_object().unwrap().len(), 32);
}

/// A change that arrives while the writer waits for the store joins its next write.
#[tokio::test(start_paused = true)]
async fn savers_that_arrive_one_after_the_other_share_writes() {
    let world = World::new();
    let handles = handles(&world, 32).await;
    world.faults.arm(Fault::delay(Duration::from_millis(3)).on("update"));
    let save = async |number: usize, handle: &Session| {
        tokio::time::sleep(Duration::from_millis(u64::try_from(number).unwrap())).await;
        handle.insert(format!("key {number}"), &number).unwrap();
        handle.save().await
    };
    let saved = join_all(handles.iter().enumerate().map(|(number, handle)| save(number, handle))).await;
    assert!(saved.iter().all(Result::is_ok), "{saved:?}");
    assert!(world.faults.calls("update") <= 13, "{} writes", world.faults.calls("update"));
    assert_eq!(world.data(handles[0].id()).await.as_object().unwrap().len(), 32);
}

#[tokio::test(start_paused = true)]
async fn parallel_savers_of_several_processes_all_succeed() {
    let world = World::new();
    let token = world.sign_in("ann").await.token.expose();
    let mut nodes = Vec::new();
    for _ in 0..6 {
        let node = World::on(Arc::clone(&world.store), |builder| builder);
        for operation in ["update", "load"] {
            node.faults.arm(Fault::delay(Duration::from_millis(3)).on(operation));
        }
        nodes.push(node);
    }
    let save = async |number: usize| {
        let node = &nodes[number % nodes.len()];
        let session = node.validate(&token).await.unwrap();
        session.insert(format!("key {number}"), &number).unwrap();
        session.save().await
    };
    let saved = join_all((0..24).map(save)).await;
    assert!(saved.iter().all(Result::is_ok), "{saved:?}");
    let id = world.validate(&token).await.unwrap().id();
    assert_eq!(world.data(id).await.as_object().unwrap().len(), 24);
}

#[tokio::test]
async fn a_counter_loses_nothing() {
    let world = Arc::new(World::new());
    let other = Arc::new(World::on(Arc::clone(&world.store), |builder| builder));
    let token = world.sign_in("ann").await.token.expose().to_string();
    let count = (0..100).map(|number| {
        let (node, token) = (Arc::clone(if number % 2 == 0 { &world } else { &other }), token.clone());
        tokio::spawn(async move {
            let session = node.validate(&token).await.unwrap();
            session.update("visits", |visits: Option<u32>| visits.unwrap_or_default() + 1).await.unwrap()
        })
    });
    let mut seen: Vec<_> = join_all(count).await.into_iter().map(Result::unwrap).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_update_works_on_top_of_what_is_not_saved_and_saves_it() {
    let world = World::new();
    let session = world.sign_in("ann").await.session;
    session.insert("count", &5).unwrap();
    session.insert("theme", "dark").unwrap();
    assert_eq!(session.update("count", |count: Option<u32>| count.unwrap() + 1).await.unwrap(), 6);
    assert!(!session.is_modified());
    assert_eq!(world.data(session.id()).await, serde_json::json!({"count": 6, "theme": "dark"}));
    let other = session.update("theme", |theme: Option<u32>| theme.unwrap()).await;
    assert_eq!(kind(other), ErrorKind::Corrupt, "a value of another type");
    assert_eq!(kind(session.update("session-kit.x", |_: Option<u32>| 1).await), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_taken_key_stays_exclusive_whatever_is_put_in_its_place() {
    for policy in [ConflictPolicy::Fail, ConflictPolicy::Mine, ConflictPolicy::Theirs] {
        let world = World::with(|builder| builder.with_conflict_policy(policy));
        let token = world.sign_in("ann").await.token.expose();
        let session = world.validate(&token).await.unwrap();
        session.insert("voucher", "spring").unwrap();
        session.save().await.unwrap();
        let (one, two) = (world.validate(&token).await.unwrap(), world.validate(&token).await.unwrap());
        for handle in [&one, &two] {
            assert!(handle.take::<String>("voucher").unwrap().is_some());
            handle.insert("voucher", "used").unwrap();
        }
        one.save().await.unwrap();
        assert_eq!(kind(two.save().await), ErrorKind::Conflict, "{policy:?}");
    }
}

#[tokio::test]
async fn a_repeated_save_is_no_conflict_with_itself() {
    let world = World::new();
    let handles = handles(&world, 2).await;
    handles[0].insert("count", &1).unwrap();
    world.faults.arm(Fault::lost_reply(ErrorKind::Timeout).on("update").at_call(1));
    assert_eq!(kind(handles[0].save().await), ErrorKind::Timeout);
    handles[1].insert("other", &1).unwrap();
    handles[1].save().await.unwrap();
    handles[0].save().await.expect("its own value is stored already");
    assert_eq!(world.data(handles[0].id()).await, serde_json::json!({"count": 1, "other": 1}));
}

#[tokio::test]
async fn a_lost_attempt_does_not_hide_an_equal_value_of_another_request() {
    let world = World::new();
    let handles = handles(&world, 2).await;
    handles.iter().for_each(|handle| handle.insert("count", &2).unwrap());
    world.faults.arm(Fault::error(ErrorKind::Unavailable).on("update").at_call(1));
    assert_eq!(kind(handles[0].save().await), ErrorKind::Unavailable, "it never reached the store");
    handles[1].save().await.unwrap();
    assert_eq!(kind(handles[0].save().await), ErrorKind::Conflict, "the value is the other's");
}

#[tokio::test]
async fn one_refused_change_does_not_cost_the_others() {
    let world = World::new();
    let handles = handles(&world, 3).await;
    handles[0].insert("a", &1).unwrap();
    handles[1].insert("a", &2).unwrap();
    handles[2].insert("b", &"x".repeat(70_000)).unwrap();
    let [one, two, three] = &join_all(handles.iter().map(Session::save)).await[..] else { panic!() };
    assert!(one.is_ok());
    assert_eq!(two.as_ref().unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(three.as_ref().unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn clearing_removes_what_the_handle_sees() {
    let world = World::new();
    let handles = handles(&world, 2).await;
    handles[0].insert("a", &1).unwrap();
    handles[0].save().await.unwrap();
    handles[0].insert("b", &2).unwrap();
    handles[0].clear().unwrap();
    handles[1].insert("c", &3).unwrap();
    handles[1].save().await.unwrap();
    handles[0].save().await.unwrap();
    assert_eq!(world.data(handles[0].id()).await, serde_json::json!({"c": 3}));
}

#[tokio::test(start_paused = true)]
async fn a_saver_that_leaves_does_not_stop_the_others() {
    let world = Arc::new(World::new());
    let handles = handles(&world, 3).await;
    world.faults.arm(Fault::delay(Duration::from_millis(10)).on("update"));
    let tasks: Vec<_> = handles
        .iter()
        .enumerate()
        .map(|(number, handle)| {
            handle.insert(format!("key {number}"), &number).unwrap();
            let handle = handle.clone();
            tokio::spawn(async move { handle.save().await })
        })
        .collect();
    while world.faults.calls("update") == 0 {
        tokio::task::yield_now().await;
    }
    tasks[0].abort();
    for task in tasks.into_iter().skip(1) {
        task.await.unwrap().unwrap();
    }
    world.manager.revoke(handles[0].id(), &Actor::System).await.unwrap();
    handles[1].insert("late", &1).unwrap();
    assert_eq!(kind(handles[1].save().await), ErrorKind::Ended);
}

#[tokio::test]
async fn a_change_that_was_refused_beside_others_can_be_made_smaller() {
    let world = World::new();
    let handles = handles(&world, 2).await;
    handles[0].insert("a", &"x".repeat(40_000)).unwrap();
    handles[1].insert("b", &"x".repeat(40_000)).unwrap();
    let (second, first) = tokio::join!(handles[1].save(), handles[0].save());
    second.unwrap();
    assert_eq!(kind(first), ErrorKind::Invalid, "together they are too large");
    handles[0].insert("a", "small").unwrap();
    handles[0].save().await.expect("its first attempt was never written");
}

#[tokio::test]
async fn clones_of_a_handle_that_save_at_once_do_not_conflict() {
    let world = World::new();
    let handle = handles(&world, 1).await.remove(0);
    handle.insert("k", &1).unwrap();
    let clone = handle.clone();
    let saved = tokio::join!(handle.save(), clone.save());
    assert!(matches!(saved, (Ok(()), Ok(()))), "{saved:?}");
    assert_eq!(world.data(handle.id()).await, serde_json::json!({"k": 1}));
    assert!(!handle.is_modified());
}

#[tokio::test]
async fn clones_that_save_one_after_the_other_within_one_write_do_not_conflict() {
    let world = World::new();
    let handle = handles(&world, 1).await.remove(0);
    world.faults.arm(Fault::delay(Duration::from_millis(5)).on("update"));
    handle.insert("k", &1).unwrap();
    let clone = handle.clone();
    let later = async {
        world.faults.called("update", 1).await;
        clone.save().await
    };
    let saved = tokio::join!(handle.save(), later);
    assert!(matches!(saved, (Ok(()), Ok(()))), "{saved:?}");
}

#[tokio::test]
async fn a_change_that_panics_costs_the_others_nothing() {
    let world = World::new();
    let handles = handles(&world, 3).await;
    handles[0].insert("a", &1).unwrap();
    handles[2].insert("c", &3).unwrap();
    let panicking = handles[1].update("b", |_: Option<u8>| -> u8 { panic!("as this test wants") });
    let (one, two, three) = tokio::join!(handles[0].save(), panicking, handles[2].save());
    one.unwrap();
    three.unwrap();
    assert_eq!(kind(two), ErrorKind::Other);
    assert_eq!(world.data(handles[0].id()).await, serde_json::json!({"a": 1, "c": 3}));
    handles[1].update("b", |_: Option<u8>| 2).await.expect("the session can be written as before");
}

#[tokio::test]
async fn a_write_that_the_store_refuses_is_repeated_one_by_one() {
    let world = World::new();
    let handles = handles(&world, 3).await;
    world.faults.arm(Fault::error(ErrorKind::Invalid).on("update").at_call(1));
    world.faults.arm(Fault::error(ErrorKind::Invalid).on("update").at_call(3));
    for (number, handle) in handles.iter().enumerate() {
        handle.insert(format!("key {number}"), &number).unwrap();
    }
    let saved = join_all(handles.iter().map(Session::save)).await;
    let refused = saved.into_iter().filter_map(Result::err).map(|error| error.kind()).collect::<Vec<_>>();
    assert_eq!(refused, [ErrorKind::Invalid], "only the one that the store refuses");
    assert_eq!(world.data(handles[0].id()).await.as_object().unwrap().len(), 2);
}
