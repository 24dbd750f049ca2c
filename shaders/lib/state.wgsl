// What changes from step to step. Read-only here, so that loads from it are uniform and may bound loops with barriers.
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
    unused_1: u32,
    unused_2: u32,
    unused_3: u32,
    unused_4: u32,
    tokens: array<u32, MAX_TOKENS>,
    chosen: array<u32, MAX_TOKENS>, // the tokens chosen, in order
}
@group(0) @binding(0) var<storage, read> state: State;

// Rows that an operation works on: all tokens, or behind `last_row` those whose logits are wanted.
fn row_count(tail: u32) -> u32 {
    return select(state.count, state.rows, tail == 1u);
}
