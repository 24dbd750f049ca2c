//! `cargo xtask test`: everything that must hold before a change lands.
//!
//! A suite that fails does not stop the next one. The last line is the sum, in words that machines read too.

mod count;
mod suites;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::setup::{self, TestTools};
use count::Outcome;

/// What a suite works with.
struct Context<'a> {
    project: &'a Project,
    tools: &'a TestTools,
}

struct Suite {
    name: &'static str,
    title: &'static str,
    /// Whether it works on what the suite `build` makes.
    on_build: bool,
    run: fn(&Context) -> Result<Outcome>,
}

struct Report {
    title: &'static str,
    outcome: Outcome,
    seconds: f64,
}

/// Runs the named suites and the build that they need, or all; true when nothing failed.
pub fn run(project: &Project, names: &[String]) -> Result<bool> {
    for name in names {
        if !suites::ALL.iter().any(|suite| suite.name == name) {
            let known: Vec<_> = suites::ALL.iter().map(|suite| suite.name).collect();
            bail!(
                "there is no suite \"{name}\"; there are: {}",
                known.join(", ")
            );
        }
    }
    let start = Instant::now();
    let tools = setup::for_tests(project)?;
    let setup_seconds = start.elapsed().as_secs_f64();
    let context = Context {
        project,
        tools: &tools,
    };
    let mut reports = Vec::new();
    let named = |suite: &Suite| names.is_empty() || names.iter().any(|name| name == suite.name);
    let builds = suites::ALL
        .iter()
        .any(|suite| suite.on_build && named(suite));
    for suite in &suites::ALL {
        if named(suite) || (builds && suite.name == suites::BUILD) {
            reports.push(suite.report(&context));
        }
    }
    Ok(summary(&reports, setup_seconds))
}

impl Suite {
    fn report(&self, context: &Context) -> Report {
        println!("\n━━ {}", self.title);
        let start = Instant::now();
        let outcome = (self.run)(context).unwrap_or_else(|error| {
            println!("{error:#}");
            Outcome::FAILED
        });
        Report {
            title: self.title,
            outcome,
            seconds: start.elapsed().as_secs_f64(),
        }
    }
}

/// Prints one line a suite, then the sum alone on the last line.
fn summary(reports: &[Report], setup_seconds: f64) -> bool {
    println!(
        "\n{:<44} {:>7} {:>7} {:>9}",
        "suite", "passed", "failed", "seconds"
    );
    println!("{:<44} {:>7} {:>7} {setup_seconds:>9.1}", "setup", "", "");
    let mut sum = Outcome::default();
    let mut seconds = setup_seconds;
    for report in reports {
        let Outcome { passed, failed } = report.outcome;
        println!(
            "{:<44} {passed:>7} {failed:>7} {:>9.1}",
            report.title, report.seconds
        );
        sum.add(report.outcome);
        seconds += report.seconds;
    }
    println!("{:<44} {:>7} {:>7} {seconds:>9.1}\n", "all", "", "");
    println!("{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0 && sum.passed > 0
}
