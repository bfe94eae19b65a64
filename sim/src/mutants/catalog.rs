//! The list of planted bugs: one file for each part of the product, one entry for each mistake.
//!
//! An entry names a piece of a source file by its text and says what stands there instead. The text must be found exactly
//! once, so that an entry that today's sources have outgrown is an error and not a mistake that is never made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::world::Mode;

/// The folder of the list, in the workspace.
pub const FOLDER: &str = "sim/mutants";
/// The crates that may hold a mistake, as folders of the workspace: all of the product that a simulation runs.
pub const CRATES: [&str; 4] = ["core", "proto", "client", "node"];

/// The largest file of the list that is read.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Most entries, in all files together.
const MUTANTS_MAX: usize = 256;
/// The longest name, so that tables stay narrow.
const NAME_BYTES_MAX: usize = 48;
/// The longest description: one sentence.
const ABOUT_BYTES_MAX: usize = 240;
/// Names that are offered instead of one that does not exist.
const NEAR_MAX: usize = 3;

/// How the replacement stands in the source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// An expression for an expression.
    Expression,
    /// Statements for statements, which leave no name behind that is used later.
    Statement,
}

/// One mistake.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What it is called: words with `-` between them.
    pub name: String,
    /// The mistake, in a sentence.
    pub about: String,
    /// The source file, from the workspace's root.
    pub file: String,
    /// The beginning of the item that `find` is in, such as `fn drive`: for texts that stand in several. It must begin
    /// exactly one line of the file (after `pub` and the like).
    pub within: Option<String>,
    /// What is replaced. White space matches any white space, so that formatting does not matter.
    pub find: String,
    /// By what.
    pub replace: String,
    /// How.
    pub form: Form,
    /// In which mode it is looked for.
    #[serde(default)]
    pub mode: Mode,
    /// Why nothing that clients or operators can see depends on it. Such a mistake is not run unless it is asked for
    /// by its name.
    pub equivalent: Option<String>,
    /// The file of the list that it stands in, without `.toml`.
    #[serde(skip)]
    pub area: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mutant: Vec<Mutant>,
}

/// Why the list, or a name, cannot be used. A sentence for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogError(pub(super) String);

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CatalogError {}

/// All mistakes, by area, in the order of their files.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    mutants: Vec<Mutant>,
}

impl Catalog {
    /// Reads the list of the workspace at `root`. Errors name the file, and what is wrong with it.
    pub fn read(root: &Path) -> Result<Self, CatalogError> {
        let folder = root.join(FOLDER);
        let failed =
            |path: &Path, error: std::io::Error| CatalogError(format!("{}: {error}", path.display()));
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .map_err(|error| failed(&folder, error))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        files.sort();
        let mut catalog = Self::default();
        for path in files {
            let size = fs::metadata(&path).map_err(|error| failed(&path, error))?.len();
            if size > FILE_BYTES_MAX {
                return Err(CatalogError(format!(
                    "{} has {size} bytes: {FILE_BYTES_MAX} are read at most",
                    path.display()
                )));
            }
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            let area = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            catalog
                .add(&area, &text)
                .map_err(|CatalogError(why)| CatalogError(format!("{}: {why}", path.display())))?;
        }
        Ok(catalog)
    }

    /// Adds the entries of one file.
    pub fn add(&mut self, area: &str, text: &str) -> Result<(), CatalogError> {
        let file: File = toml::from_str(text).map_err(|error| CatalogError(error.to_string()))?;
        for mutant in file.mutant {
            check(&mutant).map_err(|why| CatalogError(format!("{:?}: {why}", mutant.name)))?;
            if self.mutants.iter().any(|other| other.name == mutant.name) {
                return Err(CatalogError(format!("there are two mutants {:?}", mutant.name)));
            }
            if self.mutants.len() >= MUTANTS_MAX {
                return Err(CatalogError(format!("there are more than {MUTANTS_MAX} mutants")));
            }
            self.mutants.push(Mutant { area: area.to_owned(), ..mutant });
        }
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[Mutant] {
        &self.mutants
    }

    /// Those with these names; without a name, all that are not equivalent. A name that does not exist is an error that
    /// offers near ones.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<&Mutant>, CatalogError> {
        if names.is_empty() {
            return Ok(self.mutants.iter().filter(|mutant| mutant.equivalent.is_none()).collect());
        }
        let find = |name: &String| {
            let found = self.mutants.iter().find(|mutant| mutant.name == *name);
            found.ok_or_else(|| CatalogError(self.unknown(name)))
        };
        names.iter().map(find).collect()
    }

    fn unknown(&self, name: &str) -> String {
        let distance = |mutant: &Mutant| {
            if mutant.name.contains(name) { 0 } else { edits(name, &mutant.name) }
        };
        let mut near: Vec<_> = self.mutants.iter().map(|mutant| (distance(mutant), &mutant.name)).collect();
        near.retain(|(distance, _)| *distance <= name.len() / 2);
        near.sort();
        let near: Vec<_> = near.iter().take(NEAR_MAX).map(|(_, name)| name.as_str()).collect();
        match near.as_slice() {
            [] => format!("there is no mutant {name:?}: --list shows all of them"),
            near => format!("there is no mutant {name:?}: {} are near it", near.join(", ")),
        }
    }

    /// The mistakes of each source file.
    pub fn by_file(&self) -> BTreeMap<&str, Vec<&Mutant>> {
        let mut files: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for mutant in &self.mutants {
            files.entry(mutant.file.as_str()).or_default().push(mutant);
        }
        files
    }
}

fn check(mutant: &Mutant) -> Result<(), String> {
    let Mutant { name, about, file, find, replace, equivalent, .. } = mutant;
    let plain =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if name.len() > NAME_BYTES_MAX || !name.split('-').all(plain) {
        return Err(format!(
            "a name is words of a-z and 0-9 with '-' between them, {NAME_BYTES_MAX} bytes at most"
        ));
    }
    let is_sentence = |text: &str| text.ends_with('.') && text.len() <= ABOUT_BYTES_MAX;
    if !is_sentence(about) {
        return Err(format!(
            "`about` is one sentence of {ABOUT_BYTES_MAX} bytes at most, with its full stop"
        ));
    }
    if equivalent.as_ref().is_some_and(|why| !why.ends_with('.')) {
        return Err("`equivalent` is the reason, in sentences".to_owned());
    }
    let mut parts = file.split('/');
    let of_product = parts.next().is_some_and(|part| CRATES.contains(&part)) && parts.next() == Some("src");
    if !of_product || parts.any(|part| part == "..") || !file.ends_with(".rs") {
        return Err(format!(
            "`file` is a source file of one of {}, such as core/src/term.rs",
            CRATES.join(", ")
        ));
    }
    if find.trim().is_empty() {
        return Err("`find` is empty".to_owned());
    }
    if mutant.form == Form::Expression && replace.trim().is_empty() {
        return Err("an expression is replaced by one: `replace` is empty".to_owned());
    }
    Ok(())
}

impl Mutant {
    /// Where its text stands in the file. The error says what is wrong with the entry.
    pub fn place(&self, source: &str) -> Result<Range<usize>, CatalogError> {
        let error = |why: String| CatalogError(format!("{}: {why} in {}", self.name, self.file));
        let item = match &self.within {
            None => 0..source.len(),
            Some(within) => item(source, within).map_err(error)?,
        };
        let found = occurrences(&source[item.clone()], &self.find);
        match found.as_slice() {
            [one] => Ok(item.start + one.start..item.start + one.end),
            [] => Err(error("its text is not found: the source has changed, so must the entry".to_owned())),
            several => Err(error(format!("its text is found {} times: it must be once", several.len()))),
        }
    }
}

/// The lines of the item that begins so, up to the brace that closes it: formatted code closes at the same depth.
fn item(source: &str, within: &str) -> Result<Range<usize>, String> {
    let mut found = None;
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        let text = line.trim_start();
        let bare = ["pub(crate) ", "pub(super) ", "pub ", "async ", "unsafe "]
            .iter()
            .fold(text, |text, word| text.strip_prefix(word).unwrap_or(text));
        // Not the beginning of a longer name.
        let rest = bare.strip_prefix(within);
        if rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
            && found.replace((start, line.len() - text.len())).is_some()
        {
            return Err(format!("{within:?} begins several lines"));
        }
        start += line.len();
    }
    let (start, depth) = found.ok_or(format!("{within:?} begins no line"))?;
    let end = format!("\n{}}}", " ".repeat(depth));
    let len = source[start..].find(&end).ok_or(format!("{within:?} has no end"))?;
    Ok(start..start + len)
}

/// Where `find` stands in `source`; any white space matches any other.
fn occurrences(source: &str, find: &str) -> Vec<Range<usize>> {
    let words: Vec<&str> = find.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else { return Vec::new() };
    let after = |start: usize| {
        rest.iter().try_fold(start + first.len(), |at, word| {
            let gap = source[at..].len() - source[at..].trim_start().len();
            (gap > 0 && source[at + gap..].starts_with(word)).then_some(at + gap + word.len())
        })
    };
    source.match_indices(first).filter_map(|(start, _)| Some(start..after(start)?)).collect()
}

/// Characters to be changed to make one of the other (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in other.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
impl A {
    pub(super) fn one(&self) -> bool {
        self.a ==
            self.b
    }

    fn one_more(&self) -> bool {
        self.a == self.b
    }
}
";

    fn entry(more: &str) -> String {
        format!(
            "[[mutant]]\nname = \"a-name\"\nabout = \"It is.\"\nfile = \"core/src/term.rs\"\nfind = \"self.a == self.b\"\nreplace = \"true\"\nform = \"expression\"\n{more}"
        )
    }

    fn mutant(more: &str) -> Mutant {
        let mut catalog = Catalog::default();
        catalog.add("area", &entry(more)).unwrap();
        catalog.all()[0].clone()
    }

    fn refused(text: &str) -> String {
        Catalog::default().add("area", text).unwrap_err().to_string()
    }

    #[test]
    fn a_text_is_found_once_whatever_its_spaces() {
        let text = |within: &str| {
            let mutant = mutant(&format!("within = {within:?}\n"));
            mutant.place(SOURCE).map(|range| SOURCE[range].to_owned()).map_err(|error| error.to_string())
        };
        assert_eq!(text("fn one").unwrap(), "self.a ==\n            self.b");
        assert_eq!(text("fn one_more").unwrap(), "self.a == self.b");
        assert!(text("fn on").unwrap_err().contains("begins no line"));
        assert!(mutant("").place(SOURCE).unwrap_err().to_string().contains("found 2 times"));
        assert!(mutant("").place("self.a==self.b").unwrap_err().to_string().contains("not found"));
    }

    #[test]
    fn a_name_that_does_not_exist_offers_near_ones() {
        let mut catalog = Catalog::default();
        for name in ["accept-not-synced", "promise-not-synced", "read-one-copy"] {
            catalog.add("area", &entry("").replace("a-name", name)).unwrap();
        }
        let chosen = |name: &str| catalog.chosen(&[name.to_owned()]).map_err(|error| error.to_string());
        assert_eq!(chosen("read-one-copy").unwrap().len(), 1);
        let error = chosen("acept-not-sinced").unwrap_err();
        assert!(error.contains("accept-not-synced") && !error.contains("read-one-copy"), "{error}");
        assert!(chosen("synced").unwrap_err().contains("accept-not-synced, promise-not-synced"));
        assert!(chosen("x").unwrap_err().contains("--list"));
    }

    #[test]
    fn bad_entries_are_refused_with_the_reason() {
        assert!(refused("[[mutant]]\nname = \"x\"").contains("about"));
        assert!(refused(&entry("more = 1\n")).contains("more"));
        assert!(refused(&entry("").replace("a-name", "A name")).contains("words of a-z"));
        assert!(refused(&entry("").replace("It is.", "It is")).contains("full stop"));
        assert!(refused(&entry("").replace("core/src/term.rs", "core/src/../../x.rs")).contains("`file`"));
        assert!(refused(&entry("").replace("core/src/term.rs", "sim/src/run.rs")).contains("`file`"));
        assert!(refused(&entry("").replace("self.a == self.b", " ")).contains("`find`"));
        assert!(refused(&entry("").replace("\"true\"", "\"\"")).contains("`replace`"));
        assert!(refused(&(entry("") + &entry(""))).contains("two mutants"));
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
