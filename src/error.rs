//! One error type for the whole crate. Each variant is something a caller can act on, and each has a stable
//! [`Error::code`] that reaches JavaScript unchanged.

/// Shorthand used everywhere in the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in terms of what the caller can do about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The bytes are not a valid GGUF file.
    #[error("not a valid GGUF file: {0}")]
    InvalidGguf(String),
    /// The file ends before the data it announces.
    #[error(
        "the file is cut short: {needed} bytes are needed but it has only {available}; download it again"
    )]
    Truncated {
        /// Bytes that the header asks for.
        needed: u64,
        /// Bytes that are there.
        available: u64,
    },
    /// The files are not all the parts of one split model.
    #[error("not the parts of one model: {0}")]
    WrongParts(String),
    /// A metadata key that this model needs is absent.
    #[error("the file lacks the metadata key {0}")]
    MissingMetadata(String),
    /// A metadata key has a value of the wrong type or outside its range.
    #[error("metadata key {key}: {reason}")]
    BadMetadata {
        /// The GGUF key.
        key: String,
        /// What is wrong with its value.
        reason: String,
    },
    /// A tensor that this architecture needs is absent.
    #[error("the file lacks the tensor {0}")]
    MissingTensor(String),
    /// A tensor is there but its shape or type does not fit.
    #[error("tensor {name}: {reason}")]
    BadTensor {
        /// Tensor name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// `general.architecture` is not one that we run.
    #[error("model architecture `{name}` is not supported; supported: {supported}")]
    UnsupportedArchitecture {
        /// What the file says.
        name: String,
        /// Comma-separated list of what we run.
        supported: String,
    },
    /// A tensor has a storage type that we cannot read.
    #[error("tensor type `{name}` is not supported; supported: {supported}")]
    UnsupportedType {
        /// GGML's name or number of the type.
        name: String,
        /// Comma-separated list of what we read.
        supported: String,
    },
    /// The tokenizer's kind or pre-tokenizer is unknown; guessing would give silent garbage.
    #[error(
        "tokenizer `{name}` is not supported; supported: {supported} (option `preTokenizer` overrides it)"
    )]
    UnsupportedTokenizer {
        /// `tokenizer.ggml.model` or `tokenizer.ggml.pre`.
        name: String,
        /// Comma-separated list of what we know.
        supported: String,
    },
    /// The tokenizer's metadata is inconsistent.
    #[error("the tokenizer in the file is broken: {0}")]
    BadTokenizer(String),
    /// The chat template cannot be parsed or rendered.
    #[error("chat template: {0}")]
    Template(String),
    /// The chat template itself refused the conversation (`raise_exception`).
    #[error("the chat template refused the conversation: {0}")]
    TemplateRaised(String),
    /// The prompt does not fit the context.
    #[error(
        "the prompt has {needed} tokens but the context holds {n_ctx}; shorten it or raise contextLength"
    )]
    ContextFull {
        /// Tokens needed.
        needed: usize,
        /// Context length in use.
        n_ctx: usize,
    },
    /// A text to embed or to score is longer than the model reads.
    #[error(
        "the text has {needed} tokens but the model reads {limit} at once; shorten it, raise contextLength if the model \
        was trained for more, or set `truncate`"
    )]
    TextTooLong {
        /// Tokens of the text.
        needed: usize,
        /// Most tokens.
        limit: usize,
    },
    /// A request's parameter is out of range.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// Memory for weights or cache could not be had.
    #[error(
        "not enough memory: {bytes} bytes were refused; try a smaller model or a shorter context"
    )]
    OutOfMemory {
        /// Size of the allocation that failed.
        bytes: u64,
    },
    /// The GPU, or nothing here, has enough memory for the model.
    #[error("not enough memory: {0}; try a smaller model or a shorter context")]
    NoRoom(String),
    /// There is no GPU to be had: use the CPU.
    #[error("no usable GPU: {0}")]
    GpuUnavailable(String),
    /// The GPU refused or failed: use the CPU.
    #[error("the GPU failed: {0}")]
    Gpu(String),
    /// The GPU was taken away (driver, sleep, another program). The engine goes on by itself where it can.
    #[error("the GPU was lost: {0}")]
    GpuLost(String),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The source of bytes failed (file, network).
    #[error("reading the model failed: {0}")]
    Source(String),
    /// A bug in this crate, reported rather than panicking.
    #[error("internal error (please report it): {0}")]
    Internal(String),
}

impl Error {
    /// Stable machine-readable name of the variant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidGguf(_) => "invalid_gguf",
            Self::WrongParts(_) => "wrong_parts",
            Self::Truncated { .. } => "truncated",
            Self::MissingMetadata(_) => "missing_metadata",
            Self::BadMetadata { .. } => "bad_metadata",
            Self::MissingTensor(_) => "missing_tensor",
            Self::BadTensor { .. } => "bad_tensor",
            Self::UnsupportedArchitecture { .. } => "unsupported_architecture",
            Self::UnsupportedType { .. } => "unsupported_type",
            Self::UnsupportedTokenizer { .. } => "unsupported_tokenizer",
            Self::BadTokenizer(_) => "bad_tokenizer",
            Self::Template(_) => "template",
            Self::TemplateRaised(_) => "template_raised",
            Self::ContextFull { .. } | Self::TextTooLong { .. } => "context_full",
            Self::InvalidRequest(_) => "invalid_request",
            Self::OutOfMemory { .. } | Self::NoRoom(_) => "out_of_memory",
            Self::GpuUnavailable(_) => "gpu_unavailable",
            Self::Gpu(_) => "gpu",
            Self::GpuLost(_) => "gpu_lost",
            Self::Cancelled => "cancelled",
            Self::Source(_) => "source",
            Self::Internal(_) => "internal",
        }
    }
}
