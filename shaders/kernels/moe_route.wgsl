// Chooses the experts of each token: out = [their numbers | their weights]. Grid: (1, rows).
// An expert's rank is the number of experts with a better score, so no sorting and no order of work matters.
// GATING  0 softmax over all, 1 sigmoid, 2 softmax over the chosen
struct Params {
    experts: u32,
    used: u32,
    tail: u32, // see row_count
    normalize: u32,
    scale: f32,
    smallest_sum: f32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> probabilities: array<f32, MAX_EXPERTS>;
var<workgroup> scores: array<f32, MAX_EXPERTS>;
var<workgroup> chosen: array<f32, MAX_EXPERTS>;

fn prepare(base: u32, index: u32) {
    var largest = -3.4e38;
    for (var e = index; e < params.experts; e += WG) {
        largest = max(largest, x[base + e]);
    }
    largest = workgroup_max(largest);
    var sum = 0.0;
    for (var e = index; e < params.experts; e += WG) {
        sum += exp(x[base + e] - largest);
    }
    sum = workgroup_sum(sum);
    for (var e = index; e < params.experts; e += WG) {
        var p = x[base + e];
        if (GATING == 0u) {
            p = exp(p - largest) / sum;
        } else if (GATING == 1u) {
            p = 1.0 / (1.0 + exp(-p));
        }
        probabilities[e] = p;
        scores[e] = p;
        if (HAS_BIAS) {
            scores[e] += bias[e];
        }
    }
    workgroupBarrier();
}

fn run(group: vec3<u32>, index: u32) {
    if (group.y >= row_count(params.tail)) {
        return;
    }
    prepare(group.y * params.experts, index);
    let to_at = group.y * 2u * params.used;
    for (var e = index; e < params.experts; e += WG) {
        var rank = 0u;
        for (var other = 0u; other < params.experts; other++) {
            if (scores[other] > scores[e] || (scores[other] == scores[e] && other < e)) {
                rank += 1u;
            }
        }
        if (rank < params.used) {
            out[to_at + rank] = f32(e);
            chosen[rank] = probabilities[e];
        }
    }
    workgroupBarrier();
    if (index != 0u) {
        return;
    }
    var largest = -3.4e38;
    for (var j = 0u; j < params.used; j++) {
        largest = max(largest, chosen[j]);
    }
    var sum = 0.0;
    for (var j = 0u; j < params.used; j++) {
        if (GATING == 2u) {
            chosen[j] = exp(chosen[j] - largest);
        }
        sum += chosen[j];
    }
    let divide = GATING == 2u || params.normalize == 1u;
    let factor = params.scale / select(1.0, max(sum, params.smallest_sum), divide);
    for (var j = 0u; j < params.used; j++) {
        out[to_at + params.used + j] = chosen[j] * factor;
    }
}
