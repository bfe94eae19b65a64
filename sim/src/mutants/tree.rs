//! A copy of the workspace in which every mistake of the catalog is an alternative, chosen at start by a variable of the
//! environment: one build for all of them. Without the variable the copy does what the product does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::catalog::{CRATES, Catalog, CatalogError, Form, Mutant};

/// Names the mistake that a process of the copy makes.
pub const CHOICE: &str = "HOLDFAST_MUTANT";
/// Folders of a crate that the copy does without.
const LEFT_OUT: [&str; 7] = ["tests", "benches", "examples", "report-check", "js", "node_modules", "target"];
/// The packages of the copied crates.
const PACKAGES: [&str; 6] = ["holdfast-core", "holdfast-proto", "holdfast", "holdfast-wasm", "node", "sim"];
/// Where the switch is added.
const SWITCH_FILE: &str = "core/src/lib.rs";

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// An entry of the catalog does not fit the sources.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A manifest is not as expected.
    #[error("{0}: {1}")]
    Manifest(PathBuf, String),
    /// The copy does not compile: most likely one of the replacements. The compiler's words are on the terminal.
    #[error(
        "the mutated sources do not compile: look at the mutant that the compiler's message points to, in {0}"
    )]
    Build(PathBuf),
}

/// A copy with all mistakes in it.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    folder: PathBuf,
}

impl Tree {
    /// The copy of the workspace at `root`, in its `target/mutants`.
    pub fn of(root: &Path) -> Self {
        Self { root: root.to_owned(), folder: root.join("target/mutants") }
    }

    /// Where it is, and what is made of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the copy. Files that are as they should be are left alone, so that the next build begins where the last
    /// one ended. Gives how many were written.
    pub fn write(&self, catalog: &Catalog) -> Result<usize, TreeError> {
        let mut files = sources(&self.root, catalog)?;
        files.insert(PathBuf::from("Cargo.toml"), self.workspace_manifest()?.into_bytes());
        let tree = self.folder.join("tree");
        let mut written = 0;
        for (path, bytes) in &files {
            written += usize::from(write_if_changed(&tree.join(path), bytes)?);
        }
        // cargo shortens the copy's lock file: compared with what it was made of.
        let lock = read(&self.root.join("Cargo.lock"))?;
        if write_if_changed(&self.folder.join("Cargo.lock"), &lock)? {
            write_if_changed(&tree.join("Cargo.lock"), &lock)?;
        }
        for folder in all_crates() {
            let mut stale = Vec::new();
            collect(&tree, Path::new(folder), &mut stale)?;
            for path in stale.iter().filter(|path| !files.contains_key(*path)) {
                let path = tree.join(path);
                fs::remove_file(&path).map_err(|error| TreeError::Io(path, error))?;
            }
        }
        Ok(written)
    }

    /// Compiles the copy. Gives its `sim` program.
    pub fn build(&self) -> Result<PathBuf, TreeError> {
        let (tree, target) = (self.folder.join("tree"), self.folder.join("build"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = |offline: bool| {
            let mut command = Command::new(&cargo);
            command
                .args(["build", "--quiet", "--release", "--package", "sim", "--bin", "sim"])
                .args(offline.then_some("--offline"))
                .arg("--target-dir")
                .arg(&target)
                .current_dir(&tree)
                .stderr(if offline { Stdio::null() } else { Stdio::inherit() });
            command.status().map_err(|error| TreeError::Io(PathBuf::from(&cargo), error))
        };
        // What this program was built from is here. If it is not, or the build fails, once more with all it has to say.
        if build(true)?.success() || build(false)?.success() {
            Ok(target.join("release/sim"))
        } else {
            Err(TreeError::Build(tree))
        }
    }

    /// The workspace of the copied crates: the same versions, and the same release profile for dependencies; its own
    /// crates without debug information, and incremental.
    fn workspace_manifest(&self) -> Result<String, TreeError> {
        let path = self.root.join("Cargo.toml");
        let mut manifest = parse(&path, &read(&path)?)?;
        let wrong = |what: &str| TreeError::Manifest(path.clone(), what.to_owned());
        let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
        let workspace = workspace.ok_or_else(|| wrong("it has no [workspace]"))?;
        for key in ["members", "default-members", "exclude", "lints"] {
            workspace.remove(key);
        }
        let members = all_crates().map(|name| toml::Value::String(name.to_owned()));
        workspace.insert("members".to_owned(), toml::Value::Array(members.collect()));
        let release = manifest.get_mut("profile").and_then(|profile| profile.get_mut("release")).cloned();
        let mut release = release.and_then(|release| release.as_table().cloned()).unwrap_or_default();
        release.insert("incremental".to_owned(), true.into());
        let mut packages = toml::Table::new();
        for name in PACKAGES {
            packages
                .insert(name.to_owned(), toml::Table::from_iter([("debug".to_owned(), false.into())]).into());
        }
        release.insert("package".to_owned(), packages.into());
        manifest.insert(
            "profile".to_owned(),
            toml::Table::from_iter([("release".to_owned(), release.into())]).into(),
        );
        toml::to_string(&manifest).map_err(|error| wrong(&error.to_string()))
    }
}

fn all_crates() -> impl Iterator<Item = &'static str> {
    CRATES.into_iter().chain(["client-wasm", "sim"])
}

/// All files of the copied crates, by their path in the workspace, with the catalog's mistakes in them.
pub fn sources(root: &Path, catalog: &Catalog) -> Result<BTreeMap<PathBuf, Vec<u8>>, TreeError> {
    let mut paths = Vec::new();
    for folder in all_crates() {
        collect(root, Path::new(folder), &mut paths)?;
    }
    let mut files = BTreeMap::new();
    for path in paths {
        let bytes = read(&root.join(&path))?;
        let bytes = match path.file_name() {
            Some(name) if name == "Cargo.toml" => crate_manifest(&path, &bytes)?.into_bytes(),
            _ => bytes,
        };
        files.insert(path, bytes);
    }
    for (file, mutants) in catalog.by_file() {
        let path = PathBuf::from(file);
        let missing = || TreeError::Io(path.clone(), io::ErrorKind::NotFound.into());
        let bytes = files.get_mut(&path).ok_or_else(missing)?;
        let source = std::str::from_utf8(bytes).map_err(|_| missing())?;
        *bytes = mutate(source, &mutants)?.into_bytes();
    }
    let switch = files.get_mut(Path::new(SWITCH_FILE));
    let missing = || TreeError::Io(PathBuf::from(SWITCH_FILE), io::ErrorKind::NotFound.into());
    switch.ok_or_else(missing)?.extend_from_slice(switch_source().as_bytes());
    Ok(files)
}

/// Asks for the chosen mistake. Read once: it must not change while a process runs.
fn switch_source() -> String {
    format!(
        "
extern crate std;

/// Whether this process makes the mistake of this name.
pub fn mutated(name: &str) -> bool {{
    static CHOSEN: std::sync::OnceLock<std::string::String> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var({CHOICE:?}).unwrap_or_default()) == *name
}}
"
    )
}

/// A crate's manifest without what the copy does not need.
fn crate_manifest(path: &Path, bytes: &[u8]) -> Result<String, TreeError> {
    let mut manifest = parse(path, bytes)?;
    for key in ["lints", "dev-dependencies", "test", "bench", "example"] {
        manifest.remove(key);
    }
    // What stands for what was replaced is neither formatted nor always reached.
    let lints = toml::from_str("rust.warnings = \"allow\"").expect("this is valid TOML");
    manifest.insert("lints".to_owned(), toml::Value::Table(lints));
    toml::to_string(&manifest).map_err(|error| TreeError::Manifest(path.to_owned(), error.to_string()))
}

fn parse(path: &Path, bytes: &[u8]) -> Result<toml::Table, TreeError> {
    let wrong = |what: String| TreeError::Manifest(path.to_owned(), what);
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    toml::from_str(text).map_err(|error| wrong(error.to_string()))
}

/// Puts alternatives into one source file. Those of one place are chosen among; places that overlap otherwise are an
/// error.
fn mutate(source: &str, mutants: &[&Mutant]) -> Result<String, CatalogError> {
    let mut places: BTreeMap<(usize, usize), Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        let Range { start, end } = mutant.place(source)?;
        places.entry((start, end)).or_default().push(mutant);
    }
    let mut text = String::with_capacity(source.len() + 200 * mutants.len());
    let mut done: (usize, Option<&Mutant>) = (0, None);
    for ((start, end), here) in places {
        if let (before, Some(other)) = done
            && start < before
        {
            return Err(CatalogError(format!("{} and {} overlap", other.name, here[0].name)));
        }
        if let Some(other) = here.iter().find(|mutant| mutant.form != here[0].form) {
            return Err(CatalogError(format!(
                "{} and {} replace the same text as different forms",
                here[0].name, other.name
            )));
        }
        text.push_str(&source[done.0..start]);
        text.push_str(&alternatives(&source[start..end], &here));
        done = (end, Some(here[0]));
    }
    text.push_str(&source[done.0..]);
    Ok(text)
}

fn alternatives(original: &str, mutants: &[&Mutant]) -> String {
    let in_core = |mutant: &Mutant| mutant.file.starts_with("core/");
    let mut text = String::new();
    for mutant in mutants {
        let of = if in_core(mutant) { "crate" } else { "holdfast_core" };
        text += &format!("if {of}::mutated({:?}) {{ {} }} else ", mutant.name, mutant.replace.trim());
    }
    text += &format!("{{ {original} }}");
    match mutants[0].form {
        Form::Expression => format!("({text})"),
        Form::Statement => text,
    }
}

/// The files below a folder of `root`, by their path in it.
fn collect(root: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), TreeError> {
    let place = root.join(folder);
    let failed = |error| TreeError::Io(place.clone(), error);
    let entries = match fs::read_dir(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        names.insert((entry.file_name(), entry.file_type().map_err(failed)?.is_dir()));
    }
    for (name, is_folder) in names {
        let left_out = LEFT_OUT.iter().any(|out| name == *out) && folder.components().count() == 1;
        match is_folder {
            true if left_out => {}
            true => collect(root, &folder.join(name), paths)?,
            false => paths.push(folder.join(name)),
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, TreeError> {
    fs::read(path).map_err(|error| TreeError::Io(path.to_owned(), error))
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool, TreeError> {
    if fs::read(path).is_ok_and(|held| held == bytes) {
        return Ok(false);
    }
    let failed = |error| TreeError::Io(path.to_owned(), error);
    fs::create_dir_all(path.parent().expect("a file of the tree is in a folder")).map_err(failed)?;
    fs::write(path, bytes).map_err(failed)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn mutant(name: &str, find: &str, replace: &str, form: Form) -> Mutant {
        Mutant {
            name: name.to_owned(),
            about: String::new(),
            file: "core/src/x.rs".to_owned(),
            within: None,
            find: find.to_owned(),
            replace: replace.to_owned(),
            form,
            mode: crate::world::Mode::Direct,
            equivalent: None,
            area: String::new(),
        }
    }

    #[test]
    fn every_entry_fits_todays_sources() {
        let catalog = Catalog::read(root()).unwrap();
        let files = sources(root(), &catalog).unwrap();
        for mutant in catalog.all() {
            let text = std::str::from_utf8(&files[Path::new(&mutant.file)]).unwrap();
            assert_eq!(text.matches(&format!("mutated({:?})", mutant.name)).count(), 1, "{}", mutant.name);
        }
    }

    #[test]
    fn there_are_enough_and_of_every_part() {
        let catalog = Catalog::read(root()).unwrap();
        let run = catalog.chosen(&[]).unwrap();
        assert!(run.len() >= 48, "{} mutants are run", run.len());
        for area in ["client", "engine", "listing", "peer", "register", "registry", "service", "store"] {
            assert!(run.iter().any(|mutant| mutant.area == area), "none of {area}");
        }
    }

    #[test]
    fn the_product_has_no_switch() {
        let mut paths = Vec::new();
        CRATES.iter().for_each(|folder| collect(root(), Path::new(folder), &mut paths).unwrap());
        for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
            let text = fs::read_to_string(root().join(path)).unwrap();
            assert!(!text.contains("mutated(") && !text.contains(CHOICE), "{}", path.display());
        }
    }

    #[test]
    fn alternatives_stand_in_for_their_text() {
        let one = mutant("one", "a > b", "false", Form::Expression);
        let other = mutant("other", "a > b", "true", Form::Expression);
        let third = mutant("third", "f();", "", Form::Statement);
        let text = mutate("if a > b { f(); }", &[&third, &one, &other]).unwrap();
        assert_eq!(
            text,
            r#"if (if crate::mutated("one") { false } else if crate::mutated("other") { true } else { a > b }) { if crate::mutated("third") {  } else { f(); } }"#
        );
    }

    #[test]
    fn what_overlaps_is_an_error() {
        let one = mutant("one", "a > b", "false", Form::Expression);
        let other = mutant("other", "b > c", "true", Form::Expression);
        let error = mutate("a > b > c", &[&one, &other]).unwrap_err().to_string();
        assert_eq!(error, "one and other overlap");
        let other = mutant("other", "a > b", "true", Form::Statement);
        assert!(mutate("a > b", &[&one, &other]).unwrap_err().to_string().contains("different forms"));
    }
}
