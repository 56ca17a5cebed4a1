//! Every operation, dropped after its first, second, third ... await: afterwards the old state or
//! the new one is there, nothing is stuck, and everything works.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use session_conformance::faults::Fault;
use session_core::rules::RequestClient;
use session_core::{Actor, AuthMethod};
use session_manager::{Created, ExternalSession, NewSession, Paging, ValidateError};

use crate::world::{World, user};

/// More awaits than any operation has.
const MOST: u32 = 16;

type Operation<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
type Start = for<'a> fn(&'a World, &'a Created) -> Operation<'a>;

macro_rules! operation {
    ($world:ident, $created:ident, $call:expr) => {
        |$world, $created| Box::pin(async move { drop($call.await) })
    };
}

const OPERATIONS: &[(&str, Start)] = &[
    ("create", operation!(world, _created, world.manager.create(NewSession::for_user(user("ann"))))),
    ("validate", |world, created| {
        Box::pin(async move {
            let token = created.token.expose();
            drop(world.validate(&token).await);
        })
    }),
    ("save", |_, created| {
        Box::pin(async move {
            created.session.insert("key", &1).unwrap();
            drop(created.session.save().await);
        })
    }),
    (
        "rename",
        operation!(world, created, world.manager.rename(created.session.id(), Some("x"), &Actor::System)),
    ),
    ("rotate", operation!(world, created, world.manager.rotate(&created.session))),
    (
        "record_authentication",
        operation!(world, created, world.manager.record_authentication(&created.session, AuthMethod::Totp)),
    ),
    ("refresh", |world, created| {
        Box::pin(async move {
            let token = created.refresh.as_ref().unwrap().expose();
            drop(world.manager.refresh(&token, &RequestClient::default()).await);
        })
    }),
    ("logout", operation!(world, created, world.manager.logout(&created.session))),
    ("revoke", operation!(world, created, world.manager.revoke(created.session.id(), &Actor::System))),
    ("revoke_others", operation!(world, created, world.manager.revoke_others(&created.session))),
    ("revoke_all", |world, _| {
        Box::pin(async move { drop(world.manager.revoke_all(&user("ann"), &Actor::System).await) })
    }),
    ("list", |world, _| {
        Box::pin(async move { drop(world.manager.list(&user("ann"), Paging::default()).await) })
    }),
    ("ensure", |world, _| {
        Box::pin(async move {
            let external = ExternalSession::new("sid", user("bob")).unwrap();
            drop(world.manager.ensure(external, &RequestClient::default()).await);
        })
    }),
    ("transfer", |world, created| {
        Box::pin(async move {
            if let Ok(code) = world.manager.begin_transfer(&created.session, true).await {
                drop(world.manager.redeem_transfer(&code.expose(), NewSession::anonymous()).await);
            }
        })
    }),
    ("sweep", operation!(world, _created, world.manager.sweep())),
];

/// Starts an operation and drops it after a number of steps. Returns whether it ended before that.
async fn interrupted(operation: Operation<'_>, steps: u32) -> bool {
    let mut operation = operation;
    for _ in 0..steps {
        if futures_util::poll!(&mut operation).is_ready() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

async fn check(name: &str, steps: u32, start: Start) -> bool {
    let world = World::with(|builder| builder.with_concurrent_loads(std::num::NonZeroUsize::MIN));
    let created = world.manager.create(NewSession::for_user(user("ann")).with_refresh(true)).await.unwrap();
    world.faults.arm(Fault::delay(Duration::from_millis(1)));
    let ended = interrupted(start(&world, &created), steps).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.faults.disarm();

    let after = format!("{name}, dropped after {steps} steps");
    let outcome = world.validate(&created.token.expose()).await;
    assert!(!matches!(outcome, Err(ValidateError::Unavailable(_))), "{after}: {outcome:?}");
    let stored = world.stored(created.session.id()).await;
    assert_eq!(stored.check().map_err(|error| error.to_string()), Ok(()), "{after}");
    assert_eq!(stored.ended().is_some(), stored.secret.is_none(), "{after}: half an end");
    let again = world.sign_in("ann").await;
    assert!(world.validate(&again.token.expose()).await.is_ok(), "{after}: something is stuck");
    world.manager.revoke_all(&user("ann"), &Actor::System).await.unwrap();
    assert!(world.validate(&again.token.expose()).await.is_err(), "{after}");
    ended
}

#[tokio::test(start_paused = true)]
async fn dropped_operations_leave_the_old_state_or_the_new_one() {
    let mut points = 0;
    for (name, start) in OPERATIONS {
        let ended = async {
            for steps in 0..MOST {
                points += 1;
                if check(name, steps, *start).await {
                    return true;
                }
            }
            false
        };
        assert!(ended.await, "{name} never ended");
    }
    println!("cancellation points: {points} ({} operations)", OPERATIONS.len());
}

#[tokio::test(start_paused = true)]
async fn what_must_finish_finishes_after_its_first_step() {
    for (name, start) in
        OPERATIONS.iter().filter(|(name, _)| ["logout", "revoke", "revoke_all"].contains(name))
    {
        let world = World::new();
        let created =
            world.manager.create(NewSession::for_user(user("ann")).with_refresh(true)).await.unwrap();
        world.faults.arm(Fault::delay(Duration::from_millis(1)));
        interrupted(start(&world, &created), 1).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(world.stored(created.session.id()).await.ended().is_some(), "{name} stopped half-way");
    }
}
