//! Functions over vectors.
