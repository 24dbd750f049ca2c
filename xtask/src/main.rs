//! Development commands of Inkling.
fn main() {}
