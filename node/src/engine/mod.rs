//! The engine: a client's operations carried out on the cluster, whichever node they arrive at.

mod api;

pub use api::{Engine, ListPage, ListQuery, NewObject, OutcomeAnswer};
