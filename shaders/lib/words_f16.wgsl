// What the tiles of matmul_packed.wgsl hold: halves, four a word. Sums stay in f16 for at most 32 columns, element by
// element, which is two instructions for four products; pack_f16.wgsl says why they cannot overflow.
// Twin: words_int8.wgsl.
alias Word = vec4<f16>;
alias Sum = vec4<f16>;

const WORDS: u32 = 4u;         // of a unit in a tile
const VECTORS: u32 = 2u;       // of a unit as pack.wgsl leaves it
const PLANE: u32 = TILE_ROWS + 2u;  // words from one column of a tile to the next; the two halves of a block in other banks

alias Codes = array<vec4<u32>, VECTORS>;

// Integers of eight bits are halves without rounding; so are they less CENTER, which keeps sums small and so exact.
fn weight_word(bytes: vec4<u32>, i: u32) -> Word {
    let word = bytes[i];
    let left = vec4<i32>(vec4<u32>(word << 24u, word << 16u, word << 8u, word));
    return vec4<f16>((left >> vec4<u32>(24u)) - i32(CENTER));
}

// By way of f32, which drivers drop: naga has no bitcast to f16.
fn input_word(codes: Codes, i: u32) -> Word {
    let vector = codes[i / 2u];
    let pairs = select(vector.xy, vector.zw, (i & 1u) == 1u);
    return vec4<f16>(vec4<f32>(unpack2x16float(pairs.x), unpack2x16float(pairs.y)));
}

fn add_product(sum: Sum, a: Word, b: Word) -> Sum {
    return a * b + sum;
}

fn total(sum: Sum) -> f32 {
    let pairs = vec2<f32>(sum.xy + sum.zw);
    return pairs.x + pairs.y;
}
