//! The saboteurs: one line changed for the worse each, and the test that must notice.

/// A mutation of one line.
#[derive(Debug)]
pub(crate) struct Saboteur {
    /// What it breaks.
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    /// Text that occurs once in the file.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    /// The test of session-manager that turns red.
    pub(crate) test: &'static str,
}

pub(crate) const SABOTEURS: &[Saboteur] = &[
    Saboteur {
        name: "idle compared with <=",
        file: "session-core/src/expiry.rs",
        find: "if now < deadline.at {",
        replace: "if now <= deadline.at {",
        test: "validate::idleness_ends_at_its_millisecond",
    },
    Saboteur {
        name: "every secret is right",
        file: "session-manager/src/validate.rs",
        find: "if matches!(presented, Presented::Wrong) {",
        replace: "if false {",
        test: "validate::a_forged_secret_for_a_known_id_is_unknown_and_ends_nothing",
    },
    Saboteur {
        name: "an outage is a logout",
        file: "session-manager/src/validate.rs",
        find: "self.shared().loads.load(&mut operation, token.id()).await?.ok_or(",
        replace: "self.shared().loads.load(&mut operation, token.id()).await.unwrap_or_default().ok_or(",
        test: "validate::no_failure_of_the_store_is_a_rejection",
    },
    Saboteur {
        name: "the grace period never ends",
        file: "session-manager/src/rotate.rs",
        find: "now <= previous.rotated_at.saturating_add(self.settings.grace)",
        replace: "now >= previous.rotated_at",
        test: "rotate::the_old_token_gives_the_same_successor_within_grace_and_writes_nothing",
    },
    Saboteur {
        name: "a change of privilege keeps the secret",
        file: "session-manager/src/rotate.rs",
        find: "let mut secret = SecretState::new(hash.clone());",
        replace: "let mut secret = if true { old.clone() } else { SecretState::new(hash.clone()) };",
        test: "rotate::a_change_of_privilege_leaves_no_grace",
    },
    Saboteur {
        name: "reuse is only refused",
        file: "session-manager/src/refresh.rs",
        find: "Presented::Spent => return Err(self.end_reused(&record, now, &mut operation).await?.into()),",
        replace: "Presented::Spent => return Err(Rejection::Unknown.into()),",
        test: "refresh::a_spent_token_after_grace_ends_the_session",
    },
    Saboteur {
        name: "a forged refresh token ends the session",
        file: "session-manager/src/refresh.rs",
        find: "Presented::Wrong => return Err(Rejection::Unknown.into()),",
        replace: "Presented::Wrong => return Err(self.end_reused(&record, now, &mut operation).await?.into()),",
        test: "refresh::a_forged_secret_for_a_known_id_ends_nothing",
    },
    Saboteur {
        name: "both sides may take a key",
        file: "session-manager/src/save.rs",
        find: "Change::Take => moved(key),",
        replace: "Change::Take => false,",
        test: "save::only_one_of_two_requests_takes_a_key",
    },
    Saboteur {
        name: "the last writer wins",
        file: "session-manager/src/save.rs",
        find: "let contested = |key: &str, mine: &Change| moved(key) && stored.value(key) != mine.value();",
        replace: "let contested = |key: &str, mine: &Change| moved(key) && stored.value(key) != mine.value() && false;",
        test: "save::the_policy_decides_about_one_key_changed_twice",
    },
    Saboteur {
        name: "the limit is forgotten",
        file: "session-manager/src/create.rs",
        find: "store().create(record, limit.as_ref());",
        replace: "store().create(record, limit.as_ref().filter(|_| false));",
        test: "create::the_least_recently_seen_session_makes_room",
    },
    Saboteur {
        name: "a sign-in stops with its caller",
        file: "session-manager/src/manager.rs",
        find: "let task = self.inner.workers.spawn(operation);",
        replace: "let task = async { Ok::<_, tokio::task::JoinError>(operation.await) };",
        test: "create::a_sign_in_ends_even_if_nobody_waits_for_it",
    },
    Saboteur {
        name: "an end is reported twice",
        file: "session-manager/src/manager.rs",
        find: "self.emit(EventKind::Ended(ended.clone()), record);",
        replace: "self.emit(EventKind::Ended(ended.clone()), record); self.emit(EventKind::Ended(ended.clone()), record);",
        test: "events::a_life_is_told_in_order",
    },
    Saboteur {
        name: "a revocation is forgotten in an outage",
        file: "session-manager/src/ending.rs",
        find: "Err(error) if error.is_transient() => {",
        replace: "Err(error) if error.is_transient() && false => {",
        test: "events::a_revocation_during_an_outage_is_carried_through",
    },
    Saboteur {
        name: "a code works twice",
        file: "session-manager/src/transfer.rs",
        find: "if operation.end(&EndScope::id(waiting.id), &used).await?.is_empty() {",
        replace: "if operation.end(&EndScope::id(waiting.id), &used).await?.len() > 1 {",
        test: "transfer::of_many_attempts_one_wins",
    },
    Saboteur {
        name: "the directory is asked once and never again",
        file: "session-manager/src/directory.rs",
        find: "if asked <= now && now.since(asked) < self.lag => Ok(status),",
        replace: "if asked <= now => Ok(status),",
        test: "directory::a_disabled_user_is_refused_within_the_lag_and_comes_back_when_enabled",
    },
    Saboteur {
        name: "every request is a write",
        file: "session-manager/src/settings.rs",
        find: "idle.map_or(self.touch_interval, |idle| self.touch_interval.min(idle / 10))",
        replace: "idle.map_or(self.touch_interval, |idle| self.touch_interval.min(idle / 10)).min(Duration::ZERO)",
        test: "touch::a_use_within_the_interval_is_not_written",
    },
    Saboteur {
        name: "a slot is lost with its caller",
        file: "session-manager/src/loads.rs",
        find: "Turn::Go(_slot) => operation.load(id).await,",
        replace: "Turn::Go(slot) => { let answer = operation.load(id).await; if answer.is_err() { std::mem::forget(slot); } answer }",
        test: "loads::waiting_for_a_batch_ends_at_the_deadline_too",
    },
    Saboteur {
        name: "history is purged with the sweep",
        file: "session-manager/src/sweep.rs",
        find: "let before = self.clock.now().saturating_sub(self.settings.retention);",
        replace: "let before = self.clock.now();",
        test: "sweep::a_sweep_ends_what_expired_and_purges_what_ended_long_ago",
    },
];
