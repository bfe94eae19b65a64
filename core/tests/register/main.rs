//! The register protocol under every interleaving of small worlds, and under long random runs of larger ones.
#![allow(unreachable_pub, reason = "a test binary has no users")]

mod check;
mod exploration;
mod numbers;
mod random;
mod scenarios;
mod steps;
mod world;
