//! Wall time and randomness, as a parameter: the simulator brings its own.

/// Where op ids and the spread of reads come from. Never used in an argument about safety.
pub trait Ambient: Send + Sync + 'static {
    /// Unix milliseconds.
    fn unix_ms(&self) -> u64;
    /// Random bytes.
    fn random(&self, buffer: &mut [u8]);
}

/// The system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemAmbient;

impl Ambient for SystemAmbient {
    fn unix_ms(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives randomness, or nothing on it works");
    }
}

pub(crate) fn random_u64(ambient: &dyn Ambient) -> u64 {
    let mut random = [0; 8];
    ambient.random(&mut random);
    u64::from_le_bytes(random)
}
