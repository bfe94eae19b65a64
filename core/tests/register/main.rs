//! The register protocol under every interleaving of small worlds, and under long random runs of larger ones.

mod check;
mod exploration;
mod random;
mod world;
