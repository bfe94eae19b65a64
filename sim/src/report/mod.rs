//! A run as one offline HTML page that a person reads: what went wrong in one sentence, which operations show it, and
//! what happened around them, a lane for every client, every node and the registry.
//!
//! * [`record`]: what the page is made of, as versioned JSON.
//! * [`html`]: the page itself. Its style and its program are in `page/`.
//! * `page_data`: the part of a record that fits into a page.
//!
//! Nothing here knows the simulator: whoever has a [`RunRecord`] gets a page.

pub mod html;
mod page_data;
pub mod record;

pub use html::render;
pub use record::{
    BakeInPoint, FaultBand, FaultFamily, Lane, LaneKind, Level, MessageArrow, Note, OpSpan, RecordError,
    RunRecord, Verdict,
};
