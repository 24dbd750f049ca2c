// Writes llama-type GGUF files of any shape with random Q4_0 weights: what a kernel reads depends on the shape alone.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

const U32 = 4;
const F32 = 6;
const STRING = 8;
const ARRAY = 9;
const DTYPE = { F32: 0, Q4_0: 2 };
const ALIGNMENT = 32;

/** Bytes of growing length. */
class Writer {
  #parts = [];
  length = 0;

  bytes(bytes) {
    this.#parts.push(bytes);
    this.length += bytes.length;
  }
  u32(value) {
    this.bytes(new Uint8Array(Uint32Array.of(value).buffer));
  }
  u64(value) {
    this.bytes(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }
  f32(value) {
    this.bytes(new Uint8Array(Float32Array.of(value).buffer));
  }
  string(text) {
    const bytes = new TextEncoder().encode(text);
    this.u64(bytes.length);
    this.bytes(bytes);
  }
  pad(alignment) {
    this.bytes(new Uint8Array((alignment - (this.length % alignment)) % alignment));
  }
  blob() {
    return new Blob(this.#parts);
  }
}

function entry(writer, key, value) {
  writer.string(key);
  if (typeof value === 'string') {
    writer.u32(STRING);
    writer.string(value);
  } else if (Array.isArray(value)) {
    writer.u32(ARRAY);
    writer.u32(STRING);
    writer.u64(value.length);
    for (const text of value) writer.string(text);
  } else if (Number.isInteger(value)) {
    writer.u32(U32);
    writer.u32(value);
  } else {
    writer.u32(F32);
    writer.f32(value);
  }
}

/** Characters that stand for the 256 bytes in GPT-2's alphabet. */
function byteAlphabet() {
  const printable = (b) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

/** Random Q4_0 blocks: a small scale, then nibbles. One megabyte, repeated: nobody looks for patterns. */
function q4Blocks(bytes) {
  const block = new Uint8Array(18 * 3640);
  for (let i = 0; i < block.length; i += 1) block[i] = (i * 2654435761) >>> 24;
  for (let i = 0; i < block.length; i += 18) block.set([0x00, 0x18], i);
  const parts = [];
  for (let left = bytes; left > 0; left -= block.length)
    parts.push(block.subarray(0, Math.min(left, block.length)));
  return parts;
}

/**
 * A llama-type model as a Blob. `width` and `ffn` are multiples of 32, `heads * headDim` need not be `width`. Without
 * weights it is the header alone, of a file of `fileBytes`.
 */
export function llama({ layers, width, ffn, heads, kvHeads, headDim, contextLength }, withWeights = true) {
  const tokens = byteAlphabet();
  const metadata = {
    'general.architecture': 'llama',
    'general.name': `synthetic ${layers} x ${width}`,
    'llama.block_count': layers,
    'llama.context_length': contextLength,
    'llama.embedding_length': width,
    'llama.feed_forward_length': ffn,
    'llama.attention.head_count': heads,
    'llama.attention.head_count_kv': kvHeads,
    'llama.attention.key_length': headDim,
    'llama.attention.value_length': headDim,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'llama.rope.dimension_count': headDim,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'gpt-2',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.merges': [],
    'tokenizer.ggml.eos_token_id': 0,
  };
  const matrix = (name, cols, rows) => ({ name, shape: [cols, rows], dtype: DTYPE.Q4_0 });
  const vector = (name, cols) => ({ name, shape: [cols], dtype: DTYPE.F32 });
  const tensors = [matrix('token_embd.weight', width, tokens.length), vector('output_norm.weight', width)];
  for (let i = 0; i < layers; i += 1) {
    tensors.push(
      vector(`blk.${i}.attn_norm.weight`, width),
      matrix(`blk.${i}.attn_q.weight`, width, heads * headDim),
      matrix(`blk.${i}.attn_k.weight`, width, kvHeads * headDim),
      matrix(`blk.${i}.attn_v.weight`, width, kvHeads * headDim),
      matrix(`blk.${i}.attn_output.weight`, heads * headDim, width),
      vector(`blk.${i}.ffn_norm.weight`, width),
      matrix(`blk.${i}.ffn_gate.weight`, width, ffn),
      matrix(`blk.${i}.ffn_up.weight`, width, ffn),
      matrix(`blk.${i}.ffn_down.weight`, ffn, width),
    );
  }
  return write(metadata, tensors, withWeights);
}

function write(metadata, tensors, withWeights) {
  const writer = new Writer();
  writer.bytes(new TextEncoder().encode('GGUF'));
  writer.u32(3);
  writer.u64(tensors.length);
  writer.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) entry(writer, key, value);
  let offset = 0;
  for (const tensor of tensors) {
    const count = tensor.shape.reduce((a, b) => a * b, 1);
    tensor.bytes = tensor.dtype === DTYPE.F32 ? count * 4 : (count / 32) * 18;
    writer.string(tensor.name);
    writer.u32(tensor.shape.length);
    for (const n of tensor.shape) writer.u64(n);
    writer.u32(tensor.dtype);
    writer.u64(offset);
    offset += Math.ceil(tensor.bytes / ALIGNMENT) * ALIGNMENT;
  }
  writer.pad(ALIGNMENT);
  const fileBytes = writer.length + offset;
  for (const { dtype, shape, bytes } of withWeights ? tensors : []) {
    if (dtype === DTYPE.F32) writer.bytes(new Uint8Array(new Float32Array(shape[0]).fill(1).buffer));
    else for (const part of q4Blocks(bytes)) writer.bytes(part);
    writer.pad(ALIGNMENT);
  }
  const quantized = tensors.filter(({ dtype }) => dtype === DTYPE.Q4_0);
  return {
    blob: writer.blob(),
    fileBytes,
    weightBytes: quantized.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}
