//! The repository's commands: `cargo xtask …`.

mod page;
mod wasm;

fn main() -> std::process::ExitCode {
    let command = std::env::args().nth(1);
    let result = match command.as_deref() {
        Some("wasm") => wasm::build_wasm(&repository()),
        Some("page") => page::build_page(&repository()),
        _ => Err("usage: cargo xtask wasm | page".to_string()),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// The repository's root folder.
fn repository() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a folder of the repository").to_path_buf()
}
