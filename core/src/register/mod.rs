//! The register protocol: per-key registers under per-partition terms (CASPaxos with ranged promises; no log).
