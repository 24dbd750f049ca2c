// Draws the next token from at most SPAN candidates as the state says: top-k, then top-p, then min-p, then the
// temperature; the order and the meaning of each as in src/sampling. Grid: (1).
struct Params {
    count: u32, // candidates in the source
    n_vocab: u32,
    from_logits: u32, // see lib/ranking.wgsl
}
@group(0) @binding(1) var<uniform> params: Params;

fn run(group: vec3<u32>, index: u32) {
    load_span(0u, params.count, index);
    sort_span(index);
    if (index == 0u) {
        next_token(min(draw(kept()), params.n_vocab - 1u));
    }
}

// Probability relative to the best candidate.
fn weight(i: u32, temperature: f32) -> f32 {
    if (span[i].x == span[0].x) {
        return 1.0;
    }
    let exponent = (logit_of(span[i].x) - logit_of(span[0].x)) / temperature;
    // Below, f32 has nothing left but what some drivers flush to zero.
    return select(exp(exponent), 0.0, exponent < -87.0);
}

fn kept() -> u32 {
    let best_k = min(min(state.top_k, KEEP), params.count);
    var n = best_k;
    if (state.top_p < 1.0) {
        var total = 0.0;
        for (var i = 0u; i < best_k; i += 1u) {
            total += weight(i, 1.0);
        }
        var sum = weight(0u, 1.0);
        n = 1u;
        while (n < best_k && sum < total * state.top_p) {
            sum += weight(n, 1.0);
            n += 1u;
        }
    }
    let bar = logit_of(span[0].x) + state.log_min_p;
    while (n > 1u && logit_of(span[n - 1u].x) < bar) {
        n -= 1u;
    }
    return n;
}

fn draw(n: u32) -> u32 {
    var total = 0.0;
    for (var i = 0u; i < n; i += 1u) {
        total += weight(i, state.temperature);
    }
    let draws = state.position + 1u - state.first_position;
    var left = total * uniform_number(vec2<u32>(state.seed_low, state.seed_high), draws);
    var chosen = 0u;
    for (var i = 0u; i < n; i += 1u) {
        let share = weight(i, state.temperature);
        if (share > 0.0) {
            chosen = i;
            left -= share;
            if (left < 0.0) {
                break;
            }
        }
    }
    return span[chosen].y;
}
