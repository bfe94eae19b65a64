//! Prints how many seeds reached each point of the product, from the lines that runs have left:
//!
//! ```text
//! HOLDFAST_SIM_REACH=$PWD/target/reach.txt cargo test -p sim --test acknowledged_writes_survive
//! cargo run -p sim --example reach -- target/reach.txt
//! ```

use std::process::ExitCode;

use sim::reach::Reach;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("name the file that HOLDFAST_SIM_REACH named");
        return ExitCode::from(2);
    };
    match std::fs::read_to_string(&path) {
        Ok(lines) => {
            let mut reach = Reach::new();
            reach.note_lines(&lines);
            println!("{reach}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{path} cannot be read: {error}");
            ExitCode::FAILURE
        }
    }
}
