//! Free loopback ports.
//!
//! They are taken from below the range that the kernel hands out for outgoing connections, so that a node which was
//! killed can always listen on the same port again.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// First port that is ever given out; above the ports of well-known services.
const FIRST: u16 = 12_000;
/// One past the last; Linux starts its outgoing ports at 32768.
const END: u16 = 32_000;

static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port nobody listens on, given out once per process. Starts at a place that depends on the process id, so that
/// test processes that run side by side do not meet.
///
/// # Panics
/// When all of them are taken.
pub fn free() -> u16 {
    let mut taken = TAKEN.lock().expect("no holder of this lock panics");
    let span = u32::from(END - FIRST);
    let start = std::process::id().wrapping_mul(61) % span;
    for step in 0..span {
        let offset = u16::try_from((start + step) % span).expect("a remainder of a 16-bit number fits");
        let port = FIRST + offset;
        if !taken.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port between {FIRST} and {END}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_same_port_is_never_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..20).map(|_| super::free()).collect();
        assert_eq!(ports.len(), 20);
    }
}
