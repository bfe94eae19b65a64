//! Long random runs.
