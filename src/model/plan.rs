//! The forward pass as data: a flat list of labelled operations over numbered buffers and weights.
//!
//! A buffer holds one row of `f32` per position of the current chunk: `[tokens, width]`. Labels are llama.cpp's
//! names with the layer number (`attn_norm-3`, `Kcur-3`, `ffn_out-3`), so that any intermediate can be compared
//! with another runtime.

use super::config::Activation;
use super::rope::RopeSpec;

/// Number of an activation buffer in [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BufId(pub usize);

/// Number of a weight in [`Plan::weights`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightId(pub usize);

/// Number of a rotary embedding in [`Plan::ropes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RopeId(pub usize);

/// Number of a recurrent state in [`Plan::states`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateId(pub usize);

/// How a weight is used, which decides how a backend stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightKind {
    /// `[rows, cols]`, multiplied with activations or looked up by row.
    Matrix,
    /// A vector of `cols` floats: norm weights, biases, rope factors.
    Vector,
}

/// A weight of the plan: some rows of one tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WeightSpec {
    /// Tensor name in the GGUF file.
    pub tensor: String,
    /// First row of the tensor that belongs to this weight (fused tensors are cut by rows).
    pub row_start: usize,
    /// Number of rows; 1 for vectors.
    pub rows: usize,
    /// Row length.
    pub cols: usize,
    /// Use of the weight.
    pub kind: WeightKind,
}

/// Normalisation over the last dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm: `x / sqrt(mean(x²) + eps) * w` (Zhang & Sennrich 2019).
    Rms,
    /// LayerNorm: `(x - mean) / sqrt(var + eps) * w + b` (Ba et al. 2016).
    Layer,
}

/// How router logits become the weights of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// Softmax over all experts, then the best are taken.
    Softmax,
    /// Each expert's sigmoid, then the best are taken.
    Sigmoid,
    /// The best are taken, then softmax over those.
    SoftmaxOfChosen,
}

/// Which positions a position sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Itself and those before; with a window, the last so many.
    Causal,
    /// All that the encoder has read.
    Memory,
    /// All of the text; with a window, half of it to either side.
    Full,
}

/// What is added to attention scores by the distance of query and key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreBias {
    /// What a table has for the distance.
    Buckets(RelativeBias),
    /// Minus the distance times a slope of each head (ALiBi, Press et al. 2022): `2^(-steepest * (h + 1) / n)` for the heads
    /// `h` below `n`, the largest power of two that is not more than their number; the others lie between those.
    Slopes {
        /// Negative exponent of the last slope.
        steepest: f32,
    },
}

impl ScoreBias {
    /// Slope of a head.
    pub fn slope(steepest: f32, head: usize, n_heads: usize) -> f32 {
        let n = 1 << n_heads.max(1).ilog2();
        let step = if head < n {
            (head + 1) as f32
        } else {
            (head - n) as f32 + 0.5
        };
        (-steepest * step / n as f32).exp2()
    }
}

/// Bias of attention scores by distance (T5), in buckets that grow with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativeBias {
    /// Bias of each bucket and head, `[buckets, n_heads]`.
    pub table: WeightId,
    /// Which distances share a bucket.
    pub buckets: RelativeBuckets,
}

/// Buckets of distances (T5): one for each of the nearest, then wider and wider ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelativeBuckets {
    /// Number of buckets.
    pub buckets: usize,
    /// Whether half of them are for later positions.
    pub both_ways: bool,
}

impl RelativeBuckets {
    /// Distance from which all share the last bucket.
    pub const FARTHEST: i64 = 128;

    /// Bucket of the distance `key - query`.
    pub fn of(&self, distance: i64) -> usize {
        let (half, offset) = match self.both_ways {
            true if distance > 0 => (self.buckets / 2, self.buckets / 2),
            true => (self.buckets / 2, 0),
            false => (self.buckets, 0),
        };
        let distance = if self.both_ways {
            distance.unsigned_abs()
        } else {
            distance.min(0).unsigned_abs()
        } as usize;
        let exact = half / 2;
        if distance < exact {
            return offset + distance;
        }
        let steps =
            (distance as f64 / exact as f64).ln() / (Self::FARTHEST as f64 / exact as f64).ln();
        offset + (exact + (steps * (half - exact) as f64) as usize).min(half - 1)
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first (`[CLS]`).
    First,
    /// The last.
    Last,
    /// A classifier's scores from the first (from the last in causal models): a reranker.
    Rank,
}

/// Which number selects the row in [`Op::Embed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdSource {
    /// The token's id.
    Tokens,
    /// The first row, or the second from where a pair's second text begins (BERT's token types).
    Segment,
    /// The token's position (learned positions, as in GPT-2).
    Positions,
}

/// One operation. `T` is the number of tokens in the chunk; shapes are `[T, width]` unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // field names are the field's terms; shapes are given per variant
pub enum Op {
    /// `out[t] = table[id(t)]`
    Embed {
        table: WeightId,
        ids: IdSource,
        out: BufId,
    },
    /// Normalises each run of `width` values of `x`; `out` may be `x`. With `width < buffer width` it works per head,
    /// with weights and biases that are shared by the heads or, when longer than `width`, of each head's own.
    Norm {
        kind: NormKind,
        x: BufId,
        weight: Option<WeightId>,
        bias: Option<WeightId>,
        eps: f32,
        width: usize,
        out: BufId,
    },
    /// `out[t, r] = dot(weight[r], x[t]) + bias[r]`
    MatMul {
        x: BufId,
        weight: WeightId,
        bias: Option<WeightId>,
        out: BufId,
    },
    /// Rotates the heads of `x` (`[T, n_heads * head_dim]`) in place by their position.
    Rope {
        x: BufId,
        rope: RopeId,
        n_heads: usize,
        head_dim: usize,
    },
    /// `x[t] = x[t] * (1 + factor * ln(1 + floor(position / length)))`
    PositionScale {
        x: BufId,
        factor: f32,
        length: usize,
    },
    /// Appends keys and values of the chunk to the cache of `layer`.
    StoreKv { k: BufId, v: BufId, layer: usize },
    /// Attention of `q` (`[T, n_heads * head_dim]`) over the cache of `layer`:
    /// `softmax(softcap(q·k * scale)) v`, over the positions that `mask` and `window` let see. `sinks` has a
    /// score for each head that takes its share of the softmax and adds nothing.
    Attention {
        q: BufId,
        layer: usize,
        n_heads: usize,
        head_dim: usize,
        scale: f32,
        mask: Mask,
        window: Option<usize>,
        softcap: Option<f32>,
        sinks: Option<WeightId>,
        bias: Option<ScoreBias>,
        out: BufId,
    },
    /// `out = act(gate) * up`; a narrower `gate` (one number a token or a head) is spread over equal parts of `up`.
    GatedAct {
        act: Activation,
        gate: BufId,
        up: BufId,
        out: BufId,
    },
    /// From each run of `stride` values of `x`, those from `offset` on, as many as fill `out`.
    Slice {
        x: BufId,
        stride: usize,
        offset: usize,
        out: BufId,
    },
    /// Each run of `width` values of `x` goes to `offset` in a run of `stride` values of `out`, whose rest stays; where `x` has
    /// one run only, it goes to all.
    Place {
        x: BufId,
        width: usize,
        stride: usize,
        offset: usize,
        out: BufId,
    },
    /// `x = x * weight`; the weight is one number, or one for each value of a row.
    ScaleByWeight { x: BufId, weight: WeightId },
    /// Adds to each run of `width` values of `x` ("stream" `j`, from `first` on) a mixture of the runs of `y`:
    /// `x_j += Σ_k (plus + coefs[j * n + k]) * y_k`, with `n` runs in `y`; without `coefs` they are zero.
    MixStreams {
        x: BufId,
        y: BufId,
        coefs: Option<BufId>,
        plus: f32,
        first: usize,
        width: usize,
    },
    /// `first` (`[T, d]`) and after it the runs of `rest` (`[T, n * d]`), each brought to the Euclidean length of `first`.
    JoinStreams {
        first: BufId,
        rest: BufId,
        out: BufId,
    },
    /// `x = max(x - mean(x) - factor * std(x), 0)` in each row, with the deviation of a sample.
    Sparsify { x: BufId, factor: f32 },
    /// Gated delta rule (Yang et al. 2024). `qkv` is `[T, 2 * key_heads * head_dim + value_heads * head_dim]`; queries and
    /// keys are brought to length 1. For each value head with matrix `S` in `state`: `S *= exp(a * softplus(alpha + dt))`,
    /// `S += k ⊗ (sigmoid(beta) * (v - Sᵀk))`, `out = Sᵀq / sqrt(head_dim)`.
    DeltaNet {
        qkv: BufId,
        alpha: BufId,
        beta: BufId,
        dt: WeightId,
        a: WeightId,
        key_heads: usize,
        value_heads: usize,
        head_dim: usize,
        eps: f32,
        state: StateId,
        out: BufId,
    },
    /// Selective state space of Mamba 2 (Dao & Gu 2024). `xbc` is `[T, inner + 2 * groups * state_dim]`: `x`, `B`, `C`. For
    /// each head with `h` in `state` and `d = softplus(dt + dt_bias)`: `h = h * exp(a * d) + d * x ⊗ B`,
    /// `out = h C + skip * x`.
    StateScan {
        xbc: BufId,
        dt: BufId,
        dt_bias: WeightId,
        a: WeightId,
        skip: WeightId,
        heads: usize,
        groups: usize,
        state_dim: usize,
        state: StateId,
        out: BufId,
    },
    /// Selective state space of Mamba (Gu & Dao 2023). `x` and `dt` are `[T, channels]`; a row of `bc` has `B` from `at` on
    /// and then `C`, each as long as a channel's `h` in `state`. With `d = softplus(dt)`: `h = h * exp(a * d) + d * x * B`,
    /// `out = h · C + skip * x`.
    SelectiveScan {
        x: BufId,
        dt: BufId,
        bc: BufId,
        at: usize,
        a: WeightId,
        skip: WeightId,
        state: StateId,
        out: BufId,
    },
    /// `out[t, j] = x[t] + (x[t - 1] - x[t]) * weight[j]` for each of the rows `[width of x]` of `weight`, side by side.
    /// `state` carries the last row of `x` to the next chunk.
    TokenShift {
        x: BufId,
        weight: WeightId,
        state: StateId,
        out: BufId,
    },
    /// The state of RWKV 7 (Peng et al. 2025). `rwkva` is `[T, 5 * d]`. For each head of `head_dim` with matrix `S` in
    /// `state`, and `a = sigmoid(a)`, `kk = unit(k * removal)`, `k = k * (1 + (a - 1) * replacement)`:
    /// `S = S * exp(-0.606531 * sigmoid(w)) + v ⊗ k - (S kk) ⊗ (kk * a)`. `out` is `[T, 2 * d]`, for each head `S r` and
    /// then `v * Σ k * r * bonus`.
    Wkv7 {
        rwkva: BufId,
        removal: WeightId,
        replacement: WeightId,
        bonus: WeightId,
        head_dim: usize,
        state: StateId,
        out: BufId,
    },
    /// Convolution over time, each channel by itself: `out[t, c] = bias[c] + Σ_j weight[c, j] * x[t - taps + 1 + j, c]`.
    /// `state` carries the last `taps - 1` rows of `x` to the next chunk.
    CausalConv {
        x: BufId,
        weight: WeightId,
        bias: Option<WeightId>,
        taps: usize,
        state: StateId,
        out: BufId,
    },
    /// `x = act(x)`
    Act { act: Activation, x: BufId },
    /// Chooses `used` experts a token by the router logits `x` (`[T, n_experts]`, plus `bias` for the choice alone).
    /// `out` is `[T, 2 * used]`: their numbers, then their weights times `scale`.
    MoeRoute {
        x: BufId,
        bias: Option<WeightId>,
        used: usize,
        gating: Gating,
        normalize: bool,
        scale: f32,
        out: BufId,
    },
    /// The choice of all: `out` is `[T, 2 * used]`, the numbers from 0 on, then ones. With it [`Op::MoeMatMul`] multiplies each
    /// part of its input with a matrix of its own.
    EveryExpert { used: usize, out: BufId },
    /// The matrix product of the chosen experts only: `out` is `[T, used * n]`, and for the `j`-th expert `e` of a token
    /// `out[t, j * n + r] = dot(weight[e * stride + offset + r], x) + bias[e * stride + offset + r]`. `x` is `[T, cols]`,
    /// or `[T, used * cols]` where each expert has its own input.
    MoeMatMul {
        x: BufId,
        route: BufId,
        used: usize,
        weight: WeightId,
        bias: Option<WeightId>,
        stride: usize,
        offset: usize,
        out: BufId,
    },
    /// `out[t]` is the sum of the chosen experts' rows of `x` (`[T, used * width]`), each times its weight.
    MoeSum {
        x: BufId,
        route: BufId,
        used: usize,
        out: BufId,
    },
    /// `out = a + b`; `out` may be either.
    Add { a: BufId, b: BufId, out: BufId },
    /// `x = x * factor`
    Scale { x: BufId, factor: f32 },
    /// Each row of `x` becomes its softmax.
    Softmax { x: BufId },
    /// `x = cap * tanh(x / cap)`
    SoftCap { x: BufId, cap: f32 },
    /// One row for the text: `out[0] = pool(x)`; all rows stay where all are wanted. Later operations see those rows only.
    Pool {
        x: BufId,
        pooling: Pooling,
        out: BufId,
    },
    /// Keeps only the rows whose logits are wanted: `out[0] = x[T-1]`. Later operations see those rows only.
    LastRow { x: BufId, out: BufId },
}

impl Op {
    /// Weights that the operation uses itself.
    pub fn weights(&self) -> Vec<WeightId> {
        match *self {
            Self::Embed { table, .. } => vec![table],
            Self::Norm { weight, bias, .. } => weight.into_iter().chain(bias).collect(),
            Self::MatMul { weight, bias, .. }
            | Self::MoeMatMul { weight, bias, .. }
            | Self::CausalConv { weight, bias, .. } => [weight].into_iter().chain(bias).collect(),
            Self::Attention { sinks, bias, .. } => {
                let table = match bias {
                    Some(ScoreBias::Buckets(bias)) => Some(bias.table),
                    _ => None,
                };
                sinks.into_iter().chain(table).collect()
            }
            Self::ScaleByWeight { weight, .. } => vec![weight],
            Self::DeltaNet { dt, a, .. } => vec![dt, a],
            Self::StateScan {
                dt_bias, a, skip, ..
            } => vec![dt_bias, a, skip],
            Self::SelectiveScan { a, skip, .. } => vec![a, skip],
            Self::TokenShift { weight, .. } => vec![weight],
            Self::Wkv7 {
                removal,
                replacement,
                bonus,
                ..
            } => vec![removal, replacement, bonus],
            Self::MoeRoute { bias, .. } => bias.into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

/// An operation with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// llama.cpp's name of the result, with the layer number.
    pub label: String,
    /// What to do.
    pub op: Op,
}

/// What the cache of one layer keeps per position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvSpec {
    /// Number of key/value heads (GQA: several query heads share one).
    pub n_kv_heads: usize,
    /// Length of one head's key and value.
    pub head_dim: usize,
    /// Whether positions are the encoder's.
    pub memory: bool,
}

impl KvSpec {
    /// Floats per position, for keys and for values each.
    pub fn width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// The forward pass of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Width of each activation buffer.
    pub buffers: Vec<usize>,
    /// Every weight once.
    pub weights: Vec<WeightSpec>,
    /// Rotary embeddings in use.
    pub ropes: Vec<RopeSpec>,
    /// Floats of each recurrent state, zero at the beginning of a text.
    pub states: Vec<usize>,
    /// Key/value cache per layer.
    pub kv: Vec<KvSpec>,
    /// The encoder's operations in order, in models that have one beside the decoder.
    pub encoder: Vec<Step>,
    /// First token of the decoder.
    pub decoder_start: Option<u32>,
    /// The operations in order.
    pub steps: Vec<Step>,
    /// Buffer that holds the logits, the embedding or the scores at the end.
    pub logits: BufId,
    /// Whether the result is an embedding (or scores) of the text rather than logits.
    pub pooled: bool,
    /// Whether a text must run in one pass, because positions see later ones or the result depends on all.
    pub whole: bool,
    /// Tokens that there are.
    pub n_vocab: usize,
    /// Number of rows in the table of learned positions, if there is one: no position may reach it.
    pub max_positions: Option<usize>,
}
