//! What is measured: every combination of server, operation, size and load.

use std::fmt;

use serde::Serialize;

/// A server under test.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Server {
    /// A bare tonic server that answers from memory: what gRPC itself costs here.
    Echo,
    /// One node, replication 1.
    OneNode,
    /// Three nodes, replication 3.
    ThreeNodes,
}

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Operation {
    /// A put of a new key.
    Put,
    /// A get of one of the keys put before.
    Get,
}

/// One combination.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub(crate) struct Cell {
    /// The server.
    pub(crate) server: Server,
    /// The request.
    pub(crate) operation: Operation,
    /// Bytes in a body.
    pub(crate) body_bytes: usize,
    /// Requests under way at any time.
    pub(crate) in_flight: usize,
}

/// The bodies' sizes.
pub(crate) const BODY_BYTES: [usize; 2] = [1024, 64 * 1024];

/// The loads.
pub(crate) const IN_FLIGHT: [usize; 3] = [1, 16, 64];

/// All combinations, those that are compared with each other next to each other.
pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for body_bytes in BODY_BYTES {
        for in_flight in IN_FLIGHT {
            for (server, operation) in [
                (Server::Echo, Operation::Get),
                (Server::OneNode, Operation::Get),
                (Server::ThreeNodes, Operation::Get),
                (Server::OneNode, Operation::Put),
                (Server::ThreeNodes, Operation::Put),
            ] {
                cells.push(Cell { server, operation, body_bytes, in_flight });
            }
        }
    }
    cells
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Echo => "bare tonic echo",
            Self::OneNode => "one node",
            Self::ThreeNodes => "three nodes",
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Put => "put",
            Self::Get => "get",
        })
    }
}
