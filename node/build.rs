//! Embeds the demo page: lists the files of `client-wasm/page/dist`, where `cargo xtask page` puts them.
//!
//! When the page has not been built there is nothing to embed, and the node says so at `/`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let page =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../client-wasm/page");
    let built = page.join("dist");
    // The folder above, which is always there: cargo takes a path that is not for changed each time.
    println!("cargo:rerun-if-changed={}", page.display());
    println!("cargo:rerun-if-changed=build.rs");

    let mut files = Vec::new();
    if built.is_dir() {
        collect(&built.canonicalize()?, "", &mut files)?;
    }
    files.sort();
    let mut code = String::from("&[\n");
    for (name, path) in files {
        writeln!(code, "    ({name:?}, include_bytes!({path:?})),").expect("writing to a String cannot fail");
    }
    code.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("page_files.rs"), code)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|_| io::Error::other("a page file is not UTF-8"))?;
        let name = format!("{prefix}/{name}");
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &name, files)?;
        } else {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}
