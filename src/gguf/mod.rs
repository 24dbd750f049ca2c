//! The GGUF container: header, metadata, tensor table. Knows nothing of models.
