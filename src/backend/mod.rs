//! Backends.

pub mod cpu;
