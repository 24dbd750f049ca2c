// What the tiles of matmul_packed.wgsl hold: bytes, sixteen a word, multiplied four an instruction. Twin: words_f16.wgsl.
alias Word = vec4<u32>;
alias Sum = i32;

const WORDS: u32 = 1u;         // of a unit in a tile
const VECTORS: u32 = 1u;       // of a unit as pack.wgsl leaves it
const PLANE: u32 = TILE_ROWS + 4u;  // words from one column of a tile to the next; the two halves of a block in other banks

alias Codes = array<vec4<u32>, VECTORS>;

fn weight_word(bytes: vec4<u32>, i: u32) -> Word {
    return bytes;
}

fn input_word(codes: Codes, i: u32) -> Word {
    return codes[0];
}

fn add_product(sum: Sum, a: Word, b: Word) -> Sum {
    return sum + dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

fn total(sum: Sum) -> f32 {
    return f32(sum);
}
