//! Numbers in place of values, so that states are small, and a quick hash for them.

#![allow(
    clippy::disallowed_types,
    reason = "nothing here is ever iterated, and ordered maps take three times as long"
)]

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A number for each distinct value.
pub struct Numbers<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbers<T> {
    pub fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }

    pub fn of(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = u32::try_from(self.values.len()).expect("fewer than 2^32 values");
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }
}

/// A hash for small numbers, where the standard one would be most of the work.
#[derive(Default)]
pub struct Mix(pub u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64(value as u64 ^ (value >> 64) as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

/// A map with small numbers as keys.
pub type Quick<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;
