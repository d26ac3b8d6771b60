//! What every engine of the key-value store must do, as cases that run on each: in memory, embedded on disk, and
//! FoundationDB (with the feature `foundationdb`, when `FDB_CLUSTER_FILE` names a cluster).

#![allow(clippy::unwrap_used)]

#[path = "kv_conformance/commits.rs"]
mod commits;
#[path = "kv_conformance/harness.rs"]
mod harness;
#[path = "kv_conformance/isolation.rs"]
mod isolation;
#[path = "kv_conformance/limits.rs"]
mod limits;
#[path = "kv_conformance/linearizability.rs"]
mod linearizability;
#[path = "kv_conformance/model.rs"]
mod model;
#[path = "kv_conformance/own_writes.rs"]
mod own_writes;
#[path = "kv_conformance/watches.rs"]
mod watches;

macro_rules! conformance {
    ($($module:ident: $($case:ident),+;)+) => {
        conformance!(@engine in_memory, harness::Engine::Memory, $($($module $case),+),+);
        conformance!(@engine on_disk, harness::Engine::Disk, $($($module $case),+),+);
        #[cfg(feature = "foundationdb")]
        conformance!(@cluster $($($module $case),+),+);
    };
    (@engine $name:ident, $engine:expr, $($module:ident $case:ident),+) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    if let Some(store) = harness::open($engine, stringify!($case)).await {
                        $module::$case(store).await;
                    }
                }
            )+
        }
    };
    (@cluster $($module:ident $case:ident),+) => {
        /// All cases in one test: the client library's thread must end before the process does, and cannot be started again.
        #[test]
        fn foundationdb() {
            let mut failed = Vec::new();
            $(
                if !harness::passes_alone(stringify!($case), $module::$case) {
                    failed.push(stringify!($case));
                }
            )+
            ekitei_kv::stop_foundationdb();
            assert!(failed.is_empty(), "{failed:?}");
        }
    };
}

conformance! {
    isolation:
        rows_are_read_in_key_order_from_both_ends,
        a_transaction_reads_one_snapshot,
        a_lost_update_is_refused,
        write_skew_is_refused,
        a_phantom_is_refused,
        a_limited_read_conflicts_only_with_what_it_saw,
        snapshot_reads_do_not_conflict,
        explicit_conflict_ranges_count,
        blind_writes_and_adds_do_not_conflict,
        a_cleared_range_conflicts_with_its_readers,
        a_scan_gives_all_rows_in_pages;
    own_writes:
        a_transaction_reads_its_own_writes,
        ranges_merge_own_writes_in_both_directions,
        sums_are_visible_before_the_commit,
        reading_only_own_writes_does_not_conflict,
        versionstamped_rows_cannot_be_read_before_the_commit,
        a_limit_before_a_versionstamped_row_promises_nothing,
        the_read_version_bounds_what_cannot_be_read,
        what_is_set_over_a_versionstamp_cannot_be_read_either,
        a_range_clear_undoes_a_versionstamped_row_from_its_lowest_key,
        a_spent_transaction_refuses;
    commits:
        concurrent_adds_lose_nothing,
        adds_treat_other_sizes_as_foundationdb_does,
        versionstamps_follow_the_order_of_commits,
        versionstamped_keys_and_values_carry_the_same_stamp,
        sixty_four_writers_increment_one_counter,
        an_unknown_result_is_retried_and_counted_once,
        a_conflict_is_retried,
        an_error_of_the_closure_commits_nothing,
        read_only_work_does_not_write,
        an_unknown_result_stays_unknown_when_the_store_fails,
        after_a_failed_fsync_nothing_is_promised,
        after_a_full_disk_nothing_is_promised;
    watches:
        a_watch_wakes_on_a_change,
        a_watch_sees_a_change_between_read_and_commit,
        what_is_watched_has_been_read,
        a_watch_counts_from_its_own_write,
        a_watch_sleeps_through_unrelated_writes,
        a_watch_of_a_range_clear_wakes,
        a_watch_of_a_transaction_that_ends_is_cancelled,
        a_watch_of_a_closed_store_is_cancelled;
    limits:
        a_key_of_exactly_the_limit_passes,
        a_value_of_exactly_the_limit_passes,
        a_transaction_of_exactly_the_limit_passes,
        what_is_only_read_has_no_limit,
        invalid_ranges_and_system_keys_are_refused,
        a_transaction_may_live_five_seconds;
    linearizability:
        a_register_is_linearizable;
    model:
        any_sequence_of_transactions_agrees_with_a_map;
}
