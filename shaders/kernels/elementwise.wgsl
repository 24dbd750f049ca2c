// An operation on each value by itself. Grid: lib/values.wgsl.
// One pipeline does them all: which it is stands in the parameters and is the same for all invocations.
struct Params {
    width: u32,  // of a row
    tail: u32,   // see row_count
    op: u32,     // as in `make`
    act: u32,    // see lib/activation.wgsl
    count: u32,  // values of out that share one of x, weights, or positions of a step
    factor: f32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    let i = row * params.width + column;
    switch params.op {
        case 0u: { // activation
            out[i] = activate(out[i], params.act);
        }
        case 1u: { // gate: x may have fewer values, each spread over equal parts of out
            out[i] = gated(x[i / params.count], out[i], params.act);
        }
        case 2u: {
            out[i] += x[i];
        }
        case 3u: {
            out[i] *= params.factor;
        }
        case 4u: { // a weight for all, or for each value of a row
            out[i] *= x[column % params.count];
        }
        case 5u: { // soft cap
            out[i] = params.factor * tanh(clamp(out[i] / params.factor, -10.0, 10.0));
        }
        case 6u: { // the rows whose logits are wanted
            out[i] = x[state.first_row * params.width + i];
        }
        case 8u: { // the choice of all experts
            out[i] = select(1.0, f32(column), column < params.count);
        }
        default: { // growth with the position
            out[i] *= 1.0 + params.factor * log(1.0 + f32((state.position + row) / params.count));
        }
    }
}
