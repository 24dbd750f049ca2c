//! The suites, from the quick and local to the slow and whole.

use std::process::Command;

use anyhow::Result;

use super::count::{self, Outcome};
use super::{Context, Suite};
use crate::build::{self, Effort};

pub const ALL: [Suite; 7] = [
    Suite {
        name: "format",
        title: "Formatting (rustfmt, Prettier)",
        run: format,
    },
    Suite {
        name: "clippy",
        title: "Lints (clippy, host and wasm)",
        run: clippy,
    },
    Suite {
        name: "rust",
        title: "Rust tests",
        run: rust,
    },
    Suite {
        name: "build",
        title: "Build (wasm, npm package, page)",
        run: build,
    },
    Suite {
        name: "types",
        title: "TypeScript, strict",
        run: types,
    },
    Suite {
        name: "ts",
        title: "TypeScript tests",
        run: typescript,
    },
    Suite {
        name: "size",
        title: "Size of the download",
        run: size,
    },
];

const WORKSPACES: [&str; 2] = ["pkg", "www"];

fn format(context: &Context) -> Result<Outcome> {
    let root = context.project.root();
    let mut outcome = count::check(
        Command::new("cargo")
            .args(["fmt", "--all", "--check"])
            .current_dir(root),
    )?;
    outcome.add(count::check(
        Command::new("npm")
            .args(["run", "--silent", "format:check"])
            .current_dir(root),
    )?);
    Ok(outcome)
}

fn clippy(context: &Context) -> Result<Outcome> {
    let mut host = Command::new("cargo");
    host.args(["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"]);
    let mut outcome = count::check(host.current_dir(context.project.root()))?;
    outcome.add(count::check(&mut build::wasm_lint(
        context.project,
        &context.tools.wasm,
    )?)?);
    Ok(outcome)
}

fn rust(context: &Context) -> Result<Outcome> {
    let mut command = Command::new("cargo");
    // The bindings generator has no tests and is long to compile in another profile.
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "xtask-bindgen",
        "--no-fail-fast",
    ]);
    count::tests(
        command.current_dir(context.project.root()),
        count::cargo_test,
    )
}

fn build(context: &Context) -> Result<Outcome> {
    build::all(context.project, &context.tools.wasm, Effort::Release)?;
    Ok(Outcome::PASSED)
}

fn types(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for workspace in WORKSPACES {
        outcome.add(count::check(&mut npm(context, workspace, "check"))?);
    }
    Ok(outcome)
}

fn typescript(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    for workspace in WORKSPACES {
        outcome.add(count::tests(
            &mut npm(context, workspace, "test"),
            count::node_test,
        )?);
    }
    Ok(outcome)
}

fn npm(context: &Context, workspace: &str, script: &str) -> Command {
    let mut command = Command::new("npm");
    command
        .args(["run", "--silent", script, "--workspace", workspace])
        .current_dir(context.project.root());
    command
}

fn size(context: &Context) -> Result<Outcome> {
    let within = crate::size::run(context.project)?;
    Ok(if within {
        Outcome::PASSED
    } else {
        Outcome::FAILED
    })
}
