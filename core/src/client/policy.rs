//! The numbers of the client's decisions, in one place.

/// When to hedge, retry, suspect and refresh. All times in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// A read is sent to a second node after this, or later when reads have been slower than that of late.
    pub read_hedge_ms_min: u32,
    /// The same before any read was answered.
    pub read_hedge_ms_first: u32,
    /// A mutation is sent, under the same op id, to a second node after this, or later when mutations have been
    /// slower than that of late.
    pub mutation_hedge_ms_min: u32,
    /// The same before any mutation was answered.
    pub mutation_hedge_ms_first: u32,
    /// A hedge never waits longer than this (and the time its body may take).
    pub hedge_ms_max: u32,
    /// Slowest upload that counts as alive, bytes a second: a body of this many bytes makes a hedge wait one second
    /// longer. Progress that the edge reports counts in any case.
    pub upload_bytes_per_s_min: u32,
    /// An attempt that shows no sign of life for this long is given up.
    pub attempt_silence_ms_max: u32,
    /// Attempts of one operation under way at the same time, at most.
    pub attempts_parallel_max: u32,
    /// The first wait before a node is tried again; doubles up to `backoff_ms_max`.
    pub backoff_ms_min: u32,
    /// The longest such wait.
    pub backoff_ms_max: u32,
    /// A suspected node is probed after this; doubles up to `probe_ms_max`.
    pub probe_ms_min: u32,
    /// The longest wait between probes.
    pub probe_ms_max: u32,
    /// The topology is asked for again when it is older than this.
    pub refresh_ms: u32,
    /// A topology request (also the probe) that takes longer has failed.
    pub refresh_timeout_ms: u32,
    /// Something below may send a request twice, unasked. Which one was answered is not known then: a node tells its
    /// copies apart ([`Router::life`](super::Router::life)), except where it refuses before it has read them.
    pub is_doubled: bool,
}

/// A refusal that comes later after its request was sent is not believed where requests are doubled: nodes remember
/// twice as long what came.
pub(super) const COPIES_MS_MAX: u64 = 30_000;

impl Policy {
    /// For clients near the nodes: one local network, one region.
    ///
    /// 30 ms is far above a healthy read (about 1 ms) and far below what a person notices; 150 ms is above a write's
    /// fsync on a slow disk, and leaves the nodes 350 ms of the 500 in which a write must survive a hung node.
    pub const NEAR: Self = Self {
        read_hedge_ms_min: 30,
        read_hedge_ms_first: 50,
        mutation_hedge_ms_min: 150,
        mutation_hedge_ms_first: 150,
        hedge_ms_max: 1_000,
        upload_bytes_per_s_min: 8 << 20,
        attempt_silence_ms_max: 3_000,
        attempts_parallel_max: 3,
        backoff_ms_min: 20,
        backoff_ms_max: 500,
        probe_ms_min: 250,
        probe_ms_max: 5_000,
        refresh_ms: 5_000,
        refresh_timeout_ms: 1_000,
        is_doubled: false,
    };

    /// For browsers: a first guess that does not send everything twice over a slow line. Once latencies are known,
    /// both behave alike.
    pub const FAR: Self = Self {
        read_hedge_ms_first: 500,
        mutation_hedge_ms_first: 800,
        hedge_ms_max: 2_000,
        upload_bytes_per_s_min: 64 << 10,
        attempt_silence_ms_max: 10_000,
        refresh_ms: 10_000,
        refresh_timeout_ms: 3_000,
        is_doubled: true,
        ..Self::NEAR
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::NEAR
    }
}

const _: () = assert!(Policy::NEAR.mutation_hedge_ms_min <= Policy::NEAR.hedge_ms_max);
const _: () = assert!(Policy::FAR.mutation_hedge_ms_first <= Policy::FAR.hedge_ms_max);
const _: () = assert!(Policy::NEAR.hedge_ms_max < Policy::NEAR.attempt_silence_ms_max);
