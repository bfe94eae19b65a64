//! The settings of `node serve`: flags win over the environment, that over the file, that over the defaults.

mod amount;
mod check;
mod input;

pub use amount::{ByteCount, Secret};
pub use check::{ConfigError, EtcdSettings, RegistrySettings, Settings};
pub use input::{LogFormat, SettingsInput};
