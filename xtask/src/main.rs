//! Development commands of Inkling: `cargo xtask help` lists them.

mod build;
mod fingerprint;
mod process;
mod progress;
mod project;
mod setup;

use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use build::Effort;
use project::Project;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  build   Build the wasm module, the npm package and the page
          [--dev] faster to compile, slower to run
  setup   Only install what the other commands need
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = lexopt::Parser::from_env();
    let command = match args.next()? {
        Some(Value(name)) => name.string()?,
        Some(Short('h') | Long("help")) | None => "help".to_owned(),
        Some(other) => return Err(other.unexpected().into()),
    };
    let project = Project::find()?;
    match command.as_str() {
        "help" => print!("{HELP}"),
        "setup" => {
            setup::for_tests(&project)?;
        }
        "build" => {
            let mut effort = Effort::Release;
            while let Some(arg) = args.next()? {
                match arg {
                    Long("dev") => effort = Effort::Dev,
                    other => return Err(other.unexpected().into()),
                }
            }
            build::run(&project, effort)?;
        }
        other => bail!("there is no command \"{other}\"\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}
