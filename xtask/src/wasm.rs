//! Builds the npm package: the wasm core (cargo, wasm-bindgen, wasm-opt) and the TypeScript around it.
//!
//! `wasm-bindgen` runs as a library and `wasm-opt` comes from npm, so that nothing need be installed by hand except
//! rustup's wasm target and Node.js. Debian's own wasm-opt damages the tables that wasm-bindgen makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use wasm_bindgen_cli_support::Bindgen;

/// The target that the core is built for.
const TARGET: &str = "wasm32-unknown-unknown";

/// What `wasm-opt` may use: what every browser of the last years has, and no more. Never `--all-features`, which
/// emits instructions that no browser accepts.
const WASM_FEATURES: [&str; 7] = [
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-multivalue",
];

/// Builds `client-wasm/js/dist` in `repository`: the npm package, ready to be packed. Installs the package's own
/// build tools (from its lock file) when they are not there.
pub(crate) fn build_wasm(repository: &Path) -> Result<(), String> {
    let js = repository.join("client-wasm/js");
    let module = build_core(repository)?;
    install_npm(&js)?;
    let generated = js.join("src/generated");
    bind(&module, &generated)?;
    optimise(&js, &generated.join("core_bg.wasm"))?;
    run(Command::new("node").arg("build.mjs").current_dir(&js))
}

/// Installs what a folder's package-lock.json names, when it is not there or is older than the lock file.
pub(crate) fn install_npm(folder: &Path) -> Result<(), String> {
    let modified = |path: PathBuf| path.metadata().and_then(|meta| meta.modified()).ok();
    let lock = modified(folder.join("package-lock.json"));
    let installed = modified(folder.join("node_modules/.package-lock.json"));
    if installed.is_some() && installed >= lock {
        return Ok(());
    }
    run(Command::new("npm").args(["ci", "--no-fund", "--no-audit"]).current_dir(folder))
}

/// Runs a command; an error says which one, and what to install when it is not there.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` failed ({status}): see its messages above")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(format!("`{name}` is not installed. For node and npm: install Node.js 20 or later"))
        }
        Err(error) => Err(format!("`{name}` could not be started: {error}")),
    }
}

/// Compiles the core; the module's path.
fn build_core(repository: &Path) -> Result<PathBuf, String> {
    // Harmless where the target is there already, and where Rust does not come from rustup (then cargo says so).
    let _ = Command::new("rustup").args(["target", "add", TARGET]).current_dir(repository).status();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Beside what .cargo/config.toml sets: without it the module would name the builder's folders.
    let home = std::env::var("CARGO_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cargo"));
    let remap = home.map_or(String::new(), |home| format!("--remap-path-prefix={home}/registry/src="));
    run(Command::new(cargo)
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", remap)
        .args(["build", "--quiet", "--package", "holdfast-wasm", "--profile", "wasm", "--target", TARGET])
        .current_dir(repository))?;
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(folder.join(TARGET).join("wasm/holdfast_wasm.wasm"))
}

/// Makes `core.js`, `core.d.ts` and `core_bg.wasm` in `generated`.
fn bind(module: &Path, generated: &Path) -> Result<(), String> {
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(module)
        .out_name("core")
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .typescript(true)
                .remove_name_section(true)
                .remove_producers_section(true)
                // The package has loaders of its own: the default path would make bundlers emit a second copy.
                .omit_default_module_path(true)
                // A trapped instance is replaced by a new one.
                .reset_state_function(true)
                .generate(generated)
        })
        .map_err(|error| format!("wasm-bindgen: {error:#}"))
}

/// Makes the module smaller, in place.
fn optimise(js: &Path, module: &Path) -> Result<(), String> {
    let wasm_opt = js.join("node_modules/binaryen/bin/wasm-opt");
    run(Command::new("node")
        .arg(wasm_opt)
        .args(["-Oz", "--converge", "--strip-debug", "--strip-producers", "--strip-target-features"])
        .args(WASM_FEATURES)
        .arg(module)
        .arg("-o")
        .arg(module))
}
