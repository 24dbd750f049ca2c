//! The compiled plan as data: every dispatch with its kernel, parameters, bindings and grid. Made once per model and
//! replayed for each step; nothing here touches a device, so tests can count and inspect without one.

use super::kernel::Kernel;
use crate::model::BufId;

/// What a binding shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Activations.
    Buffer(BufId),
    /// Integers or floats of a part of a matrix.
    Quants(usize, usize),
    /// Scales of a part of a matrix.
    Scales(usize, usize),
    /// A vector.
    Vector(usize),
    /// Angles of a rotary embedding.
    Rotary(usize),
    /// Keys of a layer.
    Keys(usize),
    /// Values of a layer.
    Values(usize),
    /// A recurrent state.
    State(usize),
    /// What attention leaves when it splits the keys.
    Parts,
    /// Candidates of the arg-max.
    Candidates,
    /// Activations as products in f16 or int8 take them.
    Packed,
    /// What the tokens have chosen, sorted by expert.
    Sorted,
    /// Best candidates of each span of the logits, in two buffers by turns.
    Ranked(usize),
    /// Nothing: the kernel does not look at it.
    Unused,
}

/// Size of a grid in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Always the same.
    Fixed(u32),
    /// One for so many tokens of the chunk.
    Tokens(u32),
    /// One for so many rows of logits.
    Rows(u32),
    /// One for so many choices of one expert.
    Choices {
        /// Choices in a tile.
        per: u32,
        /// Choices of a token.
        used: u32,
        /// Experts to choose from: each may leave a tile that is not full.
        experts: u32,
    },
}

impl Extent {
    /// Its size in a pass of so many tokens, of which so many rows of logits are wanted.
    pub fn of(self, tokens: u32, rows: u32) -> u32 {
        match self {
            Self::Fixed(n) => n,
            Self::Tokens(per) => tokens.div_ceil(per),
            Self::Rows(per) => rows.div_ceil(per),
            Self::Choices { per, used, experts } => {
                (tokens * used / per + experts).min(tokens * used)
            }
        }
    }
}

/// When a dispatch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Up to [`Program::split_from`] positions.
    Short,
    /// Beyond.
    Long,
    /// In a pass of fewer tokens.
    Below(usize),
    /// In a pass of so many tokens or more.
    From(usize),
    /// When one row of logits is wanted.
    OneRow,
    /// When several are.
    SeveralRows,
}

/// A pass, as far as it decides which dispatches run.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// Tokens before it.
    pub position: usize,
    /// Tokens.
    pub tokens: usize,
    /// Rows of logits that are wanted.
    pub rows: usize,
    /// Whether dispatches for many tokens or rows are to run however few there are, for the check.
    pub as_if_many: bool,
    /// Whether products for several rows of logits make [`FEW_TILES`] only, for the check where all would take seconds.
    pub few_logits: bool,
}

/// Workgroups of a product that is cut short.
pub const FEW_TILES: u32 = 8;

impl Pass {
    /// Of some tokens, of which the last one's logits are wanted.
    pub fn last_row(position: usize, tokens: usize) -> Self {
        Self {
            position,
            tokens,
            rows: 1,
            as_if_many: false,
            few_logits: false,
        }
    }
}

impl When {
    /// Whether it is so in a pass, where attention splits the keys beyond `split_from` positions.
    pub fn holds(self, pass: Pass, split_from: usize) -> bool {
        let long = pass.position + pass.tokens > split_from;
        match self {
            Self::Always => true,
            Self::Short => !long,
            Self::Long => long,
            Self::Below(count) => pass.tokens < count && !pass.as_if_many,
            Self::From(count) => pass.tokens >= count || pass.as_if_many,
            Self::OneRow => pass.rows == 1 && !pass.as_if_many,
            Self::SeveralRows => pass.rows > 1 || pass.as_if_many,
        }
    }
}

/// Parts into which attention splits the keys.
pub const SPLITS: usize = 8;

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// Number of the plan's step whose result it makes.
    pub step: usize,
    /// Label of the plan's step whose result it makes.
    pub label: String,
    /// Index into [`Program::kernels`].
    pub kernel: usize,
    /// Contents of the parameter struct.
    pub params: Params,
    /// Bindings from 2 on.
    pub slots: Vec<Slot>,
    /// Workgroups in x, y and z.
    pub grid: [Extent; 3],
    /// In which passes it runs.
    pub when: When,
}

/// Parameters of a dispatch: words of a uniform struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Params {
    words: [u32; Self::WORDS],
    len: usize,
}

impl Params {
    /// Words of the struct, at most.
    pub const WORDS: usize = 24;

    /// An empty struct.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a number.
    #[must_use]
    pub fn u(mut self, value: usize) -> Self {
        self.words[self.len] = value as u32;
        self.len += 1;
        self
    }

    /// Appends a float.
    #[must_use]
    pub fn f(self, value: f32) -> Self {
        self.u(value.to_bits() as usize)
    }

    /// Appends all of another.
    #[must_use]
    pub fn then(self, more: Self) -> Self {
        more.words[..more.len]
            .iter()
            .fold(self, |all, word| all.u(*word as usize))
    }

    /// The bytes for the device.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}

/// A compiled plan.
#[derive(Debug, Default)]
pub struct Program {
    /// Kernels in use.
    pub kernels: Vec<Kernel>,
    /// The encoder's text, in models that have an encoder beside the decoder.
    pub encode: Vec<Dispatch>,
    /// One token, fused; empty where texts run in one pass.
    pub decode: Vec<Dispatch>,
    /// A chunk of tokens, one dispatch or more for each operation of the plan.
    pub chunk: Vec<Dispatch>,
    /// Arg-max of the first row of logits into the state, behind `decode`.
    pub choose: Vec<Dispatch>,
    /// A token drawn from the first row of logits instead.
    pub sample: Vec<Dispatch>,
    /// Candidates that each buffer of [`Slot::Ranked`] holds.
    pub ranked: [usize; 2],
    /// Width of each activation buffer and how many rows it must hold.
    pub buffers: Vec<(usize, usize)>,
    /// Most tokens in a chunk.
    pub max_tokens: usize,
    /// Positions from which attention splits the keys over several workgroups.
    pub split_from: usize,
    /// Floats that split attention leaves at most.
    pub parts_floats: usize,
    /// Bytes of [`Slot::Packed`].
    pub packed_bytes: usize,
    /// Words of [`Slot::Sorted`].
    pub sorted_words: usize,
}

impl Program {
    /// Index of a kernel, added if it is new.
    pub fn kernel(&mut self, kernel: Kernel) -> usize {
        if let Some(index) = self.kernels.iter().position(|known| *known == kernel) {
            return index;
        }
        self.kernels.push(kernel);
        self.kernels.len() - 1
    }
}
