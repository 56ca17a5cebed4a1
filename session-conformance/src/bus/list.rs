/// Calls a macro of this crate with its arguments in brackets and the names of all bus cases.
#[doc(hidden)]
#[macro_export]
macro_rules! __for_each_bus_case {
    ($callback:ident $($arguments:tt)*) => {
        $crate::$callback! {
            [$($arguments)*]
            change_reaches_every_other_node,
            own_changes_are_not_delivered,
            change_arrives_as_it_was_published,
            changes_arrive_under_their_scope,
            changes_of_a_node_arrive_in_order,
            concurrent_changes_arrive_once_each,
            changes_of_several_nodes_arrive_once_each,
            largest_batch_arrives_whole,
            too_many_changes_are_refused,
            refused_changes_leave_no_gap,
            no_changes_are_no_message,
            every_subscription_receives_everything,
            dropped_subscription_leaves_the_others,
            subscription_outlives_its_bus,
            new_subscription_receives_after_the_last_was_dropped,
            cancelled_next_loses_nothing,
            cancelled_publication_arrives_or_is_a_resync,
            slow_subscriber_receives_everything_or_resyncs,
            subscribed_bus_is_healthy,
            idle_nodes_do_not_resync,
            node_that_leaves_is_no_resync,
        }
    };
}
