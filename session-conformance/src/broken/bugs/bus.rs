//! The mistakes of a bus.

bugs! {
    /// A mistake of a [`BrokenBus`](crate::broken::BrokenBus).
    BusBug {
        OneReceiver: "only the first node that subscribed receives", change_reaches_every_other_node;
        EchoesOwn: "a node receives its own changes", own_changes_are_not_delivered;
        EndsAreChanges: "the end of a session arrives as a change", change_arrives_as_it_was_published;
        ScopeForgotten: "changes arrive under one scope", changes_arrive_under_their_scope;
        SplitsMessages: "each change arrives as a message of its own", largest_batch_arrives_whole;
        SwapsNeighbours: "every tenth message overtakes the one before", changes_of_a_node_arrive_in_order;
        LosesSilently: "every hundredth message is lost without a resync", concurrent_changes_arrive_once_each;
        DeliversTwice: "every fiftieth message arrives twice", changes_of_several_nodes_arrive_once_each;
        AnySize: "a message may have any number of changes", too_many_changes_are_refused;
        RefusalIsAGap: "a refused publication is a resync on other nodes", refused_changes_leave_no_gap;
        EmptyIsInvalid: "publishing no changes is an error", no_changes_are_no_message;
        SharedQueue: "subscriptions of a node take messages from each other", every_subscription_receives_everything;
        LastDropEndsAll: "dropping a subscription ends the others of its node", dropped_subscription_leaves_the_others;
        EndsWithBus: "a subscription ends with its bus", subscription_outlives_its_bus;
        SubscribesOnce: "a node that has unsubscribed receives nothing any more",
            new_subscription_receives_after_the_last_was_dropped;
        CancelLoses: "a cancelled next loses the event that it had taken", cancelled_next_loses_nothing;
        CancelIsSilent: "a cancelled publication is lost without a resync",
            cancelled_publication_arrives_or_is_a_resync;
        DropsWhenFull: "messages that do not fit into the buffer are dropped without a resync",
            slow_subscriber_receives_everything_or_resyncs;
        NeverHealthy: "the bus is degraded now and then although nothing is missing", subscribed_bus_is_healthy;
        NervousWhenIdle: "an idle node resyncs every few seconds", idle_nodes_do_not_resync;
        LeavingIsAGap: "a node that leaves is a resync", node_that_leaves_is_no_resync;
    }
}
