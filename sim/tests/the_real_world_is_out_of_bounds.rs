//! A simulation that starts a thread, or asks the machine for a clock, randomness, a file or a socket past what is
//! simulated, is ended.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
#![allow(unsafe_code, reason = "system calls that no library makes any more")]

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

const DOES: &str = "HOLDFAST_SIM_DOES";

fn do_it(what: &str) {
    // SAFETY: each call writes at most to the local that it is given.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        let mut bytes = [0u8; 8];
        match what {
            "thread" => drop(std::thread::spawn(|| {})),
            "clock" => drop(libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_REALTIME, &raw mut time)),
            "randomness" => drop(libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0)),
            "file" => drop(std::fs::File::open("/dev/urandom")),
            "socket" => drop(std::net::TcpListener::bind("127.0.0.1:0")),
            "nothing" => {}
            other => panic!("{other}?"),
        }
    }
}

#[test]
fn what_is_not_simulated_ends_the_run() {
    if let Ok(what) = std::env::var(DOES) {
        sim::real_world::forbid();
        do_it(&what);
        std::process::exit(0);
    }
    for what in ["thread", "clock", "randomness", "file", "socket", "nothing"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["what_is_not_simulated_ends_the_run", "--exact", "--nocapture"])
            .env(DOES, what)
            .status()
            .unwrap();
        if what == "nothing" {
            assert!(status.success(), "{what}: {status}");
        } else {
            assert_eq!(status.signal(), Some(libc::SIGSYS), "{what}: {status}");
        }
    }
}
