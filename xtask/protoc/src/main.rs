//! The few options of protoc that prost-build uses, carried out by protox.
//!
//! etcd-client generates its messages when it is built and asks for a `protoc`; `.cargo/config.toml` names this one, so
//! that a fresh machine needs nothing but Rust.

use std::path::PathBuf;
use std::process::ExitCode;

use prost::Message as _;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("protoc (protox): {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut includes = Vec::new();
    let mut files = Vec::new();
    let mut output = None;
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().ok_or("an argument is not UTF-8")?;
        match text {
            "-I" => includes.push(PathBuf::from(arguments.next().ok_or("-I wants a folder")?)),
            "-o" => output = Some(PathBuf::from(arguments.next().ok_or("-o wants a file")?)),
            // prost-build always asks for both, and protox always delivers them.
            "--include_imports" | "--include_source_info" => {}
            // Needed by old protoc for what protox allows anyway.
            "--experimental_allow_proto3_optional" => {}
            _ if text.starts_with("-I") => includes.push(PathBuf::from(&text[2..])),
            _ if text.starts_with('-') => return Err(format!("unknown option {text}").into()),
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let descriptors = protox::compile(files, includes)?;
    std::fs::write(output.ok_or("no -o given")?, descriptors.encode_to_vec())?;
    Ok(())
}
