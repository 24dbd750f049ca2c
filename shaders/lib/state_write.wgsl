// The state, for the kernels that advance it. Twin: state_read.wgsl.
@group(0) @binding(0) var<storage, read_write> state: State;

// Records a token and makes it the next step's: the host need not see it before that step starts.
fn next_token(token: u32) {
    state.chosen[state.produced % MAX_TOKENS] = token;
    state.produced += 1u;
    state.tokens[0] = token;
    state.position += 1u;
}
