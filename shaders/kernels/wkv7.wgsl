// The state of RWKV 7 (Peng et al. 2025). A head has S [head_dim, head_dim]; for each token, with k and a key kk of length 1
// made of the projected one:  S = S * decay + v (x) k - (S kk) (x) (kk * rate);  out = S r, and behind it the bonus.
// Grid: (heads). An invocation takes a row of S, and makes one element of what the rows share, through the whole chunk.
struct Params {
    heads: u32,
    head_dim: u32, // at most WG
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> rwkva: array<f32>;
@group(0) @binding(3) var<storage, read> removal: array<f32>;
@group(0) @binding(4) var<storage, read> replacement: array<f32>;
@group(0) @binding(5) var<storage, read> bonus: array<f32>;
@group(0) @binding(6) var<storage, read_write> kept: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

var<workgroup> decays: array<f32, WG>;
var<workgroup> keys: array<f32, WG>;
var<workgroup> removed: array<f32, WG>;
var<workgroup> taken: array<f32, WG>;
var<workgroup> queries: array<f32, WG>;

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exp(-x));
}

fn run(group: vec3<u32>, index: u32) {
    let n = params.head_dim;
    let width = params.heads * n;
    let inside = index < n;
    let element = group.x * n + min(index, n - 1u);
    let row = group.x * n * n + min(index, n - 1u);
    for (var t = 0u; t < state.count; t++) {
        let at = t * 5u * width + element;
        let r = rwkva[at];
        let v = rwkva[at + 3u * width];
        let rate = sigmoid(rwkva[at + 4u * width]);
        let projected = rwkva[at + 2u * width];
        let key = projected * (1.0 + (rate - 1.0) * replacement[element]);
        let scaled = projected * removal[element];
        let terms = select(vec2<f32>(0.0), vec2<f32>(scaled * scaled, key * r * bonus[element]), inside);
        // Everyone has read what the last token left in shared memory: the sum waits for all.
        let sums = workgroup_sum4(vec4<f32>(terms, 0.0, 0.0));
        let direction = scaled / max(sqrt(sums.x), 1e-12);
        decays[index] = exp(-0.606531 * sigmoid(rwkva[at + width]));
        keys[index] = key;
        removed[index] = direction;
        taken[index] = direction * rate;
        queries[index] = r;
        workgroupBarrier();
        if (inside) {
            var known = 0.0;
            for (var j = 0u; j < n; j++) {
                known += kept[row + j * n] * removed[j];
            }
            var sum = 0.0;
            for (var j = 0u; j < n; j++) {
                let i = row + j * n;
                let next = kept[i] * decays[j] + v * keys[j] - known * taken[j];
                kept[i] = next;
                sum += next * queries[j];
            }
            let to = 2u * (t * width + group.x * n) + index;
            out[to] = sum;
            out[to + n] = v * sums.y;
        }
        workgroupBarrier();
    }
}
