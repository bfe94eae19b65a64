//! Writes the page of a failed run that is made up, to see what such a page looks like:
//!
//! ```text
//! cargo run -p sim --example failure_report -- page.html [crowd]
//! ```
//!
//! With `crowd`, the same failure among 1,000 operations and 5,000 messages.

use std::process::ExitCode;

#[path = "../tests/report/example.rs"]
mod example;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let record = match arguments.as_slice() {
        [_] => example::stale_read(),
        [_, crowd] if crowd == "crowd" => example::crowd(1_000, 5_000),
        _ => {
            eprintln!("usage: failure_report page.html [crowd]");
            return ExitCode::from(2);
        }
    };
    let page = sim::report::render(&record);
    if let Err(error) = std::fs::write(&arguments[0], &page) {
        eprintln!("cannot write {}: {error}", arguments[0]);
        return ExitCode::FAILURE;
    }
    println!("{}: {} bytes", arguments[0], page.len());
    ExitCode::SUCCESS
}
