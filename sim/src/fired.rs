//! Which faults really had an effect, and how often: a cut that no packet met has not been tested.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static FIRED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// A fault of this kind has had an effect, so many times.
pub fn fire(kind: &'static str, times: u64) {
    if times > 0 {
        FIRED.with_borrow_mut(|fired| *fired.entry(kind).or_default() += times);
    }
}

/// All that fired on this thread so far.
pub fn fired() -> BTreeMap<&'static str, u64> {
    FIRED.with_borrow(Clone::clone)
}
