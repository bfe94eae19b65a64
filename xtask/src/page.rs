//! Builds the demo page: plain static files that a node serves at `/`.

use std::path::Path;
use std::process::Command;

use crate::wasm::{build_wasm, run};

/// Builds `client-wasm/page/dist` in `repository`, and first the npm package that it uses.
pub(crate) fn build_page(repository: &Path) -> Result<(), String> {
    build_wasm(repository)?;
    run(Command::new("node").arg("build.mjs").current_dir(repository.join("client-wasm/page")))
}
