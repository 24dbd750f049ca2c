// The state of state.wgsl, for the one kernel that advances it.
struct State {
    position: u32,  // of the chunk's first token
    count: u32,     // tokens in the chunk
    first_row: u32, // first row whose logits are wanted
    rows: u32,      // how many rows of logits are wanted
    produced: u32,  // tokens chosen on the GPU since the host last wrote the state
    unused_1: u32,
    unused_2: u32,
    unused_3: u32,
    tokens: array<u32, MAX_TOKENS>,
    chosen: array<u32, MAX_TOKENS>, // the tokens chosen, in order
}
@group(0) @binding(0) var<storage, read_write> state: State;
