//! Planted bugs: real mistakes put into a copy of the product, to see whether the simulator finds them.
//!
//! * [`catalog`]: the list, `sim/mutants/*.toml`.
//! * [`tree`]: a copy of the sources with all mistakes in it, each behind a name, and its build.
//! * [`hunt`]: runs seeds against one mistake until one fails.
//!
//! Nothing of it can be reached in the product: the mistakes, and the switch that chooses one, exist in the copy only.

pub mod catalog;
pub mod hunt;
pub mod tree;
