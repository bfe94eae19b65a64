//! The page: one HTML file that needs nothing else, neither a network nor a library. Its content security policy
//! forbids it to load anything.

use super::page_data::{PageData, clean, json_for_script};
use super::record::RunRecord;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One program in four files: what is in the data, where things are drawn, drawing them, and the page around it.
const PROGRAM: [&str; 4] = [
    include_str!("page/data.js"),
    include_str!("page/layout.js"),
    include_str!("page/timeline.js"),
    include_str!("page/page.js"),
];

/// The whole page, below 500 KB: of messages and notes that are too many, those far from the guilty operations are left
/// out, and the page says so. Lanes that a record names and does not have are left out too.
pub fn render(record: &RunRecord) -> String {
    let data = json_for_script(&PageData::of(record));
    fill(|name| match name {
        "title" => escape(&format!("{}: {}", record.verdict.kind, record.title)),
        "sentence" => escape(&record.verdict.sentence),
        "style" => STYLE.to_owned(),
        "data" => data.clone(),
        "program" => PROGRAM.concat(),
        _ => unreachable!("the template names nothing else: a test renders it"),
    })
}

/// The template with each `{{name}}` replaced. What is put in is never looked at again.
fn fill(value: impl Fn(&str) -> String) -> String {
    let mut page = String::new();
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) =
            after.split_once("}}").expect("each mark of the template is closed: a test renders it");
        page.push_str(before);
        page.push_str(&value(name));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// A text between tags, at most so long that a title stays a title.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for letter in clean(text, 1_000).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}
