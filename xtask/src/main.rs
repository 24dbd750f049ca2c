//! Development commands of Inkling: `cargo xtask help` lists them.

mod bench;
mod browser;
mod build;
mod chat;
mod conformance;
mod fingerprint;
mod process;
mod progress;
mod project;
mod serve;
mod setup;
mod size;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use lexopt::prelude::*;

use browser::{Browser, Variant};
use build::Effort;
use conformance::Backend;
use project::Project;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  chat    Build everything, serve the page on this machine and open it
          [--port N] [--model FILE.gguf] [--no-open]
  test    Run all tests, or only the named suites
          [SUITE …]
  build   Build the wasm module, the npm package and the page
          [--dev] faster to compile, slower to run
  size    Show what the page downloads: raw, gzip, brotli
  bench   Measure tokens a second on this machine and in a headless browser, as JSON lines
          [--model FILE.gguf …] [--native] [--browser [VARIANT]] | --peer wllama [VARIANT] | --gpu [--quick]
          --peer wllama: beside ours in the browser, in turn
          --gpu: this machine's GPU in a browser; --quick tries that on a software adapter
  conformance EXPECTED_DIR RESULTS_DIR
          Answer a folder of questions, one result file each
          [--backend cpu|reference|gpu] [--kv f32|f16|q8_0] [--browser [VARIANT]] [--check] [--only NAME …]
  models  Measure how closely every model agrees with llama.cpp and write it to docs/MODELS.md
          [--gpu] on this machine's GPU too
  setup   Only install what the other commands need

VARIANT, in the browser: [--firefox | --webkit] [--threads N] [--plain] [--js-flags FLAGS]
          --plain: without relaxed SIMD, as in Safari; --js-flags: for V8, such as --no-enable-avx-vnni
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
        "build" => build::run(&project, effort(args)?)?,
        "chat" => chat::run(&project, &chat_options(args)?)?,
        "test" => return Ok(exit(test::run(&project, &words(args)?)?)),
        "size" => {
            build::run(&project, Effort::Release)?;
            return Ok(exit(size::run(&project)?));
        }
        "bench" => bench::run(&project, &bench_options(args)?)?,
        "conformance" => {
            return Ok(exit(conformance::run(
                &project,
                &conformance_options(args)?,
            )?));
        }
        "models" => conformance::write_docs(&project, flag(args, "gpu")?)?,
        other => bail!("there is no command \"{other}\"\n\n{HELP}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn exit(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Whether the only option that a command takes is given.
fn flag(mut args: lexopt::Parser, name: &str) -> Result<bool> {
    let mut given = false;
    while let Some(arg) = args.next()? {
        match arg {
            Long(long) if long == name => given = true,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(given)
}

fn words(mut args: lexopt::Parser) -> Result<Vec<String>> {
    let mut words = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Value(word) => words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(words)
}

fn effort(mut args: lexopt::Parser) -> Result<Effort> {
    let mut effort = Effort::Publish;
    while let Some(arg) = args.next()? {
        match arg {
            Long("dev") => effort = Effort::Dev,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(effort)
}

fn chat_options(mut args: lexopt::Parser) -> Result<chat::Options> {
    let mut options = chat::Options {
        port: None,
        model: None,
        open: true,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("port") => options.port = Some(args.value()?.parse()?),
            Long("model") => options.model = Some(args.value()?.into()),
            Long("no-open") => options.open = false,
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(options)
}

fn bench_options(mut args: lexopt::Parser) -> Result<bench::Options> {
    let mut options = bench::Options {
        models: Vec::new(),
        native: false,
        browser: false,
        gpu: None,
        variant: Variant {
            threads: Some(1),
            ..Variant::default()
        },
        peer: false,
    };
    while let Some(arg) = args.next()? {
        match arg {
            Long("model") => options.models.push(args.value()?.into()),
            Long("native") => options.native = true,
            Long("browser") => options.browser = true,
            Long("gpu") => {
                options.gpu.get_or_insert(bench::Gpu::Full);
            }
            Long("quick") => options.gpu = Some(bench::Gpu::Quick),
            Long(name @ ("firefox" | "webkit" | "threads" | "plain" | "js-flags")) => {
                let name = name.to_owned();
                vary(&mut options.variant, &name, &mut args)?;
            }
            Long("peer") => match args.value()?.string()?.as_str() {
                "wllama" => (options.browser, options.peer) = (true, true),
                other => bail!("--peer is wllama, not {other}"),
            },
            other => return Err(other.unexpected().into()),
        }
    }
    if !options.native && !options.browser && options.gpu.is_none() {
        (options.native, options.browser) = (true, true);
    }
    Ok(options)
}

/// Takes one of the options that pick the engine in the browser.
fn vary(variant: &mut Variant, name: &str, args: &mut lexopt::Parser) -> Result<()> {
    match name {
        "firefox" => variant.browser = Browser::Firefox,
        "webkit" => variant.browser = Browser::WebKit,
        "threads" => variant.threads = Some(args.value()?.parse()?),
        "plain" => variant.plain = true,
        _ => variant.js_flags = Some(args.value()?.string()?),
    }
    Ok(())
}

fn conformance_options(mut args: lexopt::Parser) -> Result<conformance::Options> {
    let mut folders = Vec::new();
    let mut backend = Backend::Cpu;
    let mut kv_type = "f32".to_owned();
    let (mut browser, mut check) = (false, false);
    let mut variant = Variant::default();
    let mut only = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("backend") => {
                backend = match args.value()?.string()?.as_str() {
                    "cpu" => Backend::Cpu,
                    "reference" => Backend::Reference,
                    "gpu" => Backend::Gpu,
                    other => bail!("--backend is cpu, reference or gpu, not {other}"),
                }
            }
            Long("kv") => kv_type = args.value()?.string()?,
            Long("browser") => browser = true,
            Long(name @ ("firefox" | "webkit" | "threads" | "plain" | "js-flags")) => {
                let name = name.to_owned();
                vary(&mut variant, &name, &mut args)?;
            }
            Long("check") => check = true,
            Long("only") => only.push(args.value()?.string()?),
            Value(folder) => folders.push(PathBuf::from(folder)),
            other => return Err(other.unexpected().into()),
        }
    }
    let Ok([expected, results]) = <[PathBuf; 2]>::try_from(folders) else {
        bail!("conformance needs two folders: EXPECTED_DIR RESULTS_DIR");
    };
    Ok(conformance::Options {
        expected,
        results,
        backend,
        kv_type,
        browser: browser.then_some(variant),
        check,
        only,
    })
}
