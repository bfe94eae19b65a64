//! Whether what clients saw can be: the checkers.

mod linear;
mod register;

pub use linear::{Violation, check};
