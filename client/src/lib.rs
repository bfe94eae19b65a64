//! The client of Holdfast, the distributed object store.
//!
//! ```no_run
//! # async fn example() -> Result<(), holdfast::Error> {
//! use holdfast::{Client, Condition, GetOptions, PutOptions};
//!
//! // One node's address is enough: the others are learnt from it. More addresses help while that one is down.
//! let client = Client::connect(["http://127.0.0.1:7070"])?;
//! let put = client.put("photos", "2026/cat.txt", "meow", PutOptions::default()).await?;
//! let got = client.get("photos", "2026/cat.txt", GetOptions::default()).await?;
//! assert_eq!(got.body, "meow");
//!
//! // Only if nobody changed it since: compare-and-swap.
//! let options = PutOptions { condition: Condition::IfVersion(put.version), ..PutOptions::default() };
//! client.put("photos", "2026/cat.txt", "purr", options).await?;
//! # Ok(()) }
//! ```
//!
//! Every call has a deadline (10 s, [`ClientOptions::timeout`] or per call), within which it is retried and hedged
//! over the nodes: a node that is down, hung or cut off costs a fraction of a second, not an error. A mutation carries
//! the same op id through all of that and takes effect at most once.
//!
//! What a call's error means is in its [`Code`]. Only [`Code::OutcomeUnknown`] says that a mutation may have happened;
//! [`Error::op_id`] then names it, and [`Client::outcome`] settles it:
//!
//! ```no_run
//! # async fn example(client: holdfast::Client) -> Result<(), holdfast::Error> {
//! use holdfast::{Code, Outcome, PutOptions};
//!
//! match client.put("photos", "cat", "meow", PutOptions::default()).await {
//!     Ok(info) => println!("stored as {}", info.version),
//!     Err(error) if *error.code() == Code::OutcomeUnknown => {
//!         let op = error.op_id().expect("an unknown outcome names its operation");
//!         match client.outcome("photos", "cat", op).await? {
//!             Outcome::Committed(version) => println!("it was stored, as {version}"),
//!             Outcome::Fenced => println!("it was not stored, and never will be"),
//!             Outcome::Unknown => println!("so long ago that nobody knows"),
//!         }
//!     }
//!     Err(error) => return Err(error),
//! }
//! # Ok(()) }
//! ```
//!
//! Bodies are verified: a put sends the BLAKE3 of its body, a get compares what came with the object's BLAKE3 and asks
//! another node when it differs. (A range cannot be compared by itself; the node has verified it.)

#![forbid(unsafe_code)]

mod ambient;
mod attempts;
mod client;
mod connect;
mod delete;
mod drive;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod get;
mod list;
mod many;
mod object;
mod outcome;
mod put;
mod status;
pub mod tasks;
mod wire;

pub use ambient::{Ambient, SystemAmbient};
pub use client::{Client, ClientOptions};
#[cfg(feature = "tcp")]
pub use connect::Tcp;
pub use connect::{BoxIo, Connect, Io, NodeChannel};
pub use delete::{DeleteOptions, Deleted};
pub use error::Error;
#[cfg(feature = "etcd")]
pub use etcd::{EtcdOptions, endpoints_from_etcd};
pub use get::{GetOptions, Head, Object, Range};
pub use holdfast_core::client::Policy;
pub use holdfast_core::condition::Condition;
pub use holdfast_core::error::Code;
pub use holdfast_core::ids::{NodeId, OpId};
pub use holdfast_core::term::Version;
pub use list::{Entry, ListOptions, Lister, Page};
pub use many::{GetItem, PutItem};
pub use object::ObjectInfo;
pub use outcome::Outcome;
pub use put::PutOptions;
pub use status::{ClusterStatus, NodeStatus, PartitionCounts};
pub use wire::detail as node_error;
