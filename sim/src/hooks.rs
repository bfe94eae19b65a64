//! Time and randomness of the operating system, replaced on the simulator's thread.
//!
//! Product code asks `node::env` for both. Its dependencies do not: the standard library's hash maps, hyper's `date`
//! header, tokio's clock. They all end at two functions of the C library, which this file overrides by symbol: on a thread
//! that has [`enter`]ed, they answer from the seed and from simulated time; on every other thread, from the kernel.
//!
//! Keys of hash maps are made once per thread, so each simulation needs a fresh thread.

#![allow(
    unsafe_code,
    reason = "overriding C functions: the memory they are given is described by their contract"
)]

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::hint::black_box;
use std::time::Duration;

use crate::random::Random;

/// Where simulated wall time begins: 2026-01-01, in Unix seconds.
pub const EPOCH_UNIX_S: u64 = 1_767_225_600;
/// Where the simulated monotonic clock begins. Not zero: programs may subtract from it.
const MONOTONIC_START_S: u64 = 1_000_000;

#[derive(Clone, Copy)]
struct Hooked {
    random: Random,
    draws: u64,
}

thread_local! {
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static FILES_FORBIDDEN: Cell<bool> = const { Cell::new(false) };
    static HOOKED: Cell<Option<Hooked>> = const { Cell::new(None) };
}

/// From here on this thread's time and randomness are simulated.
pub fn enter(seed: u64) {
    // Taken by address, so that the linker keeps the overrides.
    black_box(getrandom as *const ());
    black_box(clock_gettime as *const ());
    let random = Random::new(seed, "operating system");
    HOOKED.set(Some(Hooked { random, draws: 0 }));
    NOW.set(Duration::ZERO);
}

/// Whether this thread's are.
pub fn entered() -> bool {
    HOOKED.get().is_some()
}

/// From here on the process ends with SIGSYS when this thread opens a file.
pub(crate) fn forbid_files() {
    black_box(open64 as *const ());
    FILES_FORBIDDEN.set(true);
}

/// Sets the time since the simulation's start: whoever drives the simulated clock tells it here.
pub fn set_now(now: Duration) {
    NOW.set(now);
}

/// How often randomness was asked of the operating system on this thread.
pub fn draws() -> u64 {
    HOOKED.get().map_or(0, |hooked| hooked.draws)
}

/// The time since the simulation's start.
pub fn now() -> Duration {
    NOW.get()
}

/// Processor time of this thread, which is real also where the clocks are simulated.
pub fn real_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is written to a local.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Overrides the C library's `getrandom`.
///
/// # Safety
///
/// As `getrandom(2)`: `buffer` must be valid for writes of `len` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: c_uint) -> isize {
    // A thread that is being torn down has no hooks any more.
    let hooked = HOOKED.try_with(Cell::get).unwrap_or(None);
    let Some(mut hooked) = hooked else {
        // SAFETY: the caller's promise is passed on.
        let written: c_long = unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) };
        return isize::try_from(written).unwrap_or(-1);
    };
    if len > 0 {
        // SAFETY: the caller promises `len` writable bytes.
        hooked.random.fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) });
    }
    hooked.draws += 1;
    HOOKED.set(Some(hooked));
    isize::try_from(len).unwrap_or(isize::MAX)
}

/// Overrides the C library's `clock_gettime`.
///
/// # Safety
///
/// As `clock_gettime(3)`: `time` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let hooked = HOOKED.try_with(Cell::get).unwrap_or(None);
    if hooked.is_none() {
        // SAFETY: the caller's promise is passed on.
        let result: c_long = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
        return c_int::try_from(result).unwrap_or(-1);
    }
    let wall = matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE);
    let start = Duration::from_secs(if wall { EPOCH_UNIX_S } else { MONOTONIC_START_S });
    let now = start + NOW.get();
    let seconds = libc::time_t::try_from(now.as_secs()).unwrap_or(libc::time_t::MAX);
    let value = libc::timespec { tv_sec: seconds, tv_nsec: c_long::from(now.subsec_nanos().cast_signed()) };
    // SAFETY: the caller promises a writable `timespec`.
    unsafe { time.write(value) };
    0
}

/// Overrides the C library's `open64`, which the standard library calls.
///
/// # Safety
///
/// As `open(2)`: `path` must be a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    if FILES_FORBIDDEN.try_with(Cell::get).unwrap_or(false) {
        // SAFETY: has no preconditions.
        unsafe { libc::raise(libc::SIGSYS) };
    }
    // SAFETY: the caller's promise is passed on.
    let opened: c_long = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) };
    c_int::try_from(opened).unwrap_or(-1)
}
