// What changes from step to step. Bound by state_read.wgsl or, in the kernels that advance it, by state_write.wgsl.
struct State {
    position: u32,  // of the chunk's first token
    count: u32,     // tokens in the chunk
    first_row: u32, // first row whose logits are wanted
    rows: u32,      // how many rows of logits are wanted
    produced: u32,  // tokens chosen on the GPU since the host last wrote the state
    top_k: u32,     // how sample.wgsl chooses, from here on
    top_p: f32,
    log_min_p: f32,
    temperature: f32,
    seed_low: u32,
    seed_high: u32,
    first_position: u32, // position whose token is draw 0 of the seed
    memory: u32,    // positions that the encoder has read
    second: u32,    // position at which the second text of a pair begins
    unused_1: u32,
    unused_2: u32,
    chosen: array<u32, MAX_TOKENS>, // a ring: the tokens chosen, in order
    tokens: array<u32>,             // of the chunk
}

// Rows that an operation works on: all tokens, or behind `last_row` those whose logits are wanted.
fn row_count(tail: u32) -> u32 {
    return select(state.count, state.rows, tail == 1u);
}
