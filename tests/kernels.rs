//! The CPU kernels against a f64 reference, with the scalar primitives. `examples/kernel_check.rs` runs the same table
//! with the vector primitives.

#[path = "kernels/attention.rs"]
mod attention_cases;
#[path = "kernels/cases.rs"]
mod cases;
#[path = "kernels/ops.rs"]
mod ops_cases;
#[path = "kernels/recurrent.rs"]
mod recurrent_cases;

#[test]
fn every_kernel_agrees_with_the_reference() {
    let report = cases::run();
    assert!(
        report.checks > 1000,
        "only {} checks were made",
        report.checks
    );
    assert!(
        report.failures.is_empty(),
        "{} of {}:\n{}",
        report.failures.len(),
        report.checks,
        { report.failures[..report.failures.len().min(40)].join("\n") }
    );
}
