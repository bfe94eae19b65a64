//! Writes pages of runs that are made up, to see what such a page looks like and to check them in a browser:
//!
//! ```text
//! cargo run -p sim --example failure_report -- target/failure-report
//! ```
//!
//! * `stale-read.html`: a read that does not know of an acknowledged put.
//! * `crowd.html`: the same among 1,000 operations and 5,000 messages.
//! * `hostile.html`: the same with texts that try to break the page.
//! * `passed.html`: a run in which nothing is wrong.

use std::io;
use std::path::Path;
use std::process::ExitCode;

#[path = "../tests/report/example.rs"]
mod example;

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: failure_report folder");
        return ExitCode::from(2);
    };
    match write(Path::new(&folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write into {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let records = [
        ("stale-read", example::stale_read()),
        ("crowd", example::crowd(1_000, 5_000)),
        ("hostile", example::hostile()),
        ("passed", example::passed()),
    ];
    for (name, record) in records {
        let page = sim::report::render(&record);
        let path = folder.join(name).with_extension("html");
        std::fs::write(&path, &page)?;
        println!("{}: {} bytes", path.display(), page.len());
    }
    Ok(())
}
