//! Real files of this machine, under the names that break clients.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use holdfast_core::record::BODY_BYTES_MAX;

/// Where files are looked for; nothing here is particular to a machine.
const FOLDERS: [&str; 4] = ["/usr/share", "/usr/lib", "/etc", "/usr/bin"];
/// Files that are looked at, at most.
const SEEN_MAX: usize = 60_000;

/// A file to store.
pub(crate) struct RealFile {
    /// Its key.
    pub(crate) key: String,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
    /// Its content type.
    pub(crate) content_type: &'static str,
    /// Names and values of its own.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// `count` files: pictures, text, programs, empty ones, in equal parts as far as the machine has them.
pub(crate) fn collect(count: usize) -> Vec<RealFile> {
    let mut kinds: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    let mut seen = 0;
    for folder in FOLDERS {
        walk(Path::new(folder), &mut seen, &mut kinds);
    }
    let mut files = Vec::new();
    let mut round = 0;
    while files.len() < count {
        let mut found = false;
        for paths in kinds.values().filter(|paths| round < paths.len()) {
            // Spread over the folders, not the first ones of the first folder.
            let path = &paths[round * 7_919 % paths.len()];
            if let Ok(body) = fs::read(path) {
                files.push(named(files.len(), path, body));
            }
            found = true;
        }
        assert!(found, "this machine has only {} files", files.len());
        round += 1;
    }
    files.truncate(count);
    files
}

fn walk(folder: &Path, seen: &mut usize, kinds: &mut BTreeMap<&str, Vec<PathBuf>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() && *seen < SEEN_MAX {
            walk(&path, seen, kinds);
        } else if meta.is_file() && meta.len() <= BODY_BYTES_MAX as u64 {
            *seen += 1;
            let kind = if meta.len() == 0 { "empty" } else { kind_of(&path) };
            kinds.entry(kind).or_default().push(path);
        }
    }
}

fn kind_of(path: &Path) -> &'static str {
    match content_type(path) {
        "application/octet-stream" => "program",
        other => other.split('/').next().unwrap_or(other),
    }
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "html" => "text/html; charset=utf-8",
        "txt" | "md" | "conf" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// The `number`th file, with the next of the odd names.
fn named(number: usize, path: &Path, body: Vec<u8>) -> RealFile {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).collect();
    let key = match number % 16 {
        0 => format!("{number} {name}"),
        1 => format!("with several  spaces /{number}/ {name} "),
        2 => format!("\"quoted\" '{number}' `{name}`"),
        3 => format!("100%25 {number}% {name}%2F"),
        4 => format!("#{number}#{name}#"),
        5 => format!("?{number}?a=b&c=d?{name}"),
        6 => format!("文件/{number}/照片 {name}"),
        7 => format!("a+b&c=d;e,f/{number}/{name}"),
        8 => format!("back\\slash\\{number}\\{name}"),
        9 => format!("..{number}/...{name}../x..y"),
        10 => format!("//{number}//{name}//"),
        11 => format!("🗂️/{number}/👩‍🚀 {name}"),
        12 => format!("e\u{301} and é/{number}/{name}"),
        13 => format!("-{number}-/--{name}"),
        14 => format!("<{number}>|{name}|*:~$(){{}}[]^"),
        _ => format!("{}/{number}", path.display()),
    };
    let metadata = [
        ("name".to_owned(), name),
        ("number".to_owned(), number.to_string()),
        ("note.odd_one-1".to_owned(), "值 = \"é\" % # ?".to_owned()),
    ];
    RealFile { key, body, content_type: content_type(path), metadata: metadata.into() }
}
