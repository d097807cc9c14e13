//! What a node counts. Each counter is defined on the line that declares it; `stats`, `/metrics` and `monitor` show the same names.

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// The counters of a node, since its start or since `stats reset`.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Stats {
            /// Each counter's name, meaning and value, in the order of their declaration.
            pub fn each(&self, mut show: impl FnMut(&'static str, &'static str, u64)) {
                $(show(stringify!($name), concat!($($doc),+).trim(), self.$name);)+
            }
        }
    };
}

counters! {
    /// Reads of a key that clients of this node asked for.
    cmd_get,
    /// Writes of a value that clients of this node asked for, whether or not their condition held.
    cmd_set,
    /// Changes of an expiry that clients of this node asked for.
    cmd_touch,
    /// Calls for forgetting everything.
    cmd_flush,
    /// Passwords that clients have shown.
    auth_cmds,
    /// Wrong ones among them.
    auth_errors,
    /// Reads that found their key.
    get_hits,
    /// Reads that did not find their key.
    get_misses,
    /// Removals that found their key.
    delete_hits,
    /// Removals that did not find their key.
    delete_misses,
    /// Increments that found their key.
    incr_hits,
    /// Increments that did not find their key.
    incr_misses,
    /// Decrements that found their key.
    decr_hits,
    /// Decrements that did not find their key.
    decr_misses,
    /// Compare-and-swaps that found their version.
    cas_hits,
    /// Compare-and-swaps that did not find their key.
    cas_misses,
    /// Compare-and-swaps that found another version.
    cas_badval,
    /// Touches that found their key.
    touch_hits,
    /// Touches that did not find their key.
    touch_misses,
    /// Entries stored since the start.
    total_items,
    /// Entries removed to keep to the limits.
    evictions,
    /// Entries removed because their time had come.
    expirations,
    /// Client requests that were carried out by another node.
    forwarded,
    /// Requests of other nodes' clients carried out here.
    served_for_peers,
    /// Forwarded requests sent again to another owner.
    retried,
    /// Forwarded requests that ended in an error.
    forward_failures,
    /// Changes in who is up.
    membership_changes,
    /// Records written to the journal.
    journal_records,
    /// Bytes written to the journal.
    journal_bytes,
    /// Times the journal was synced to disk.
    journal_syncs,
    /// Times the journal could not be written or synced.
    journal_failures,
    /// Connections accepted.
    total_connections,
    /// Connections refused because there were too many.
    rejected_connections,
    /// Times the listener paused for want of file descriptors.
    listen_disabled_num,
    /// Times a connection had more to be carried out than its share of a turn.
    conn_yields,
    /// Connections closed because their client did not read its replies.
    closed_not_reading,
    /// Connections closed because a command was begun and never finished, or nothing was asked for too long.
    closed_idle,
    /// Connections closed because unfinished commands took too much memory.
    closed_crowded,
    /// Bytes read from clients and peers.
    bytes_read,
    /// Bytes written to clients and peers.
    bytes_written,
    /// Turns of the event loop.
    loop_turns,
    /// The longest turn of the event loop, in microseconds.
    longest_turn_us,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_meaning_beside_it() {
        let stats = Stats { cmd_get: 3, ..Stats::default() };
        let mut seen = Vec::new();
        stats.each(|name, meaning, value| seen.push((name, meaning.len(), value)));
        assert_eq!((seen[0].0, seen[0].2), ("cmd_get", 3));
        assert!(seen.iter().all(|(_, meaning, _)| *meaning > 10));
    }
}
