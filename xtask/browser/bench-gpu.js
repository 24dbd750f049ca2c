// What a GPU gives in this browser, and what the engine makes of it: `cargo xtask bench --gpu`.
//
// First the adapter alone (bytes a second of a copy and of a read, the price of a dispatch and of a wait, upload), then
// every variant of the products (bench-kernels.js), then models of real shapes. A decoded token's time is split into what
// the weights take at the speed of a plain read, what its dispatches cost, and the rest, which is waiting and everything
// that is not perfect.
import { Engine } from '/pkg/index.js';
import { measureKernels } from './bench-kernels.js';
import { llama } from './synthetic.js';

const MIB = 1 << 20;

/** Shapes of models that people run; the vocabulary is left out, since its table is one more matrix. */
const SHAPES = {
  'SmolLM2-135M': { layers: 30, width: 576, ffn: 1536, heads: 9, kvHeads: 3, headDim: 64 },
  'Qwen3-0.6B': { layers: 28, width: 1024, ffn: 3072, heads: 16, kvHeads: 8, headDim: 128 },
  'Llama-3.2-1B': { layers: 16, width: 2048, ffn: 8192, heads: 32, kvHeads: 8, headDim: 64 },
};

export async function run(job, post) {
  const adapter = await measureAdapter(post, job.quick);
  await measureKernels(job.kernels, job.quick, post);
  for (const model of job.models) {
    await measureModel(model, `/files/${encodeURIComponent(model)}`, {}, adapter, job, post);
  }
  if (!job.shapes) return;
  for (const [name, shape] of Object.entries(job.quick ? {} : SHAPES)) {
    const { blob, weightBytes } = llama({ ...shape, contextLength: 4096 });
    await measureModel(`${name} without vocabulary, Q4_0`, blob, { weightBytes }, adapter, job, post);
  }
  await measureMatvec(adapter, job, post);
}

// ---- the adapter alone

async function measureAdapter(post, quick) {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw new Error('this browser gives no WebGPU adapter');
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
  });
  try {
    const { vendor, architecture, device: model, description } = adapter.info;
    const facts = {
      test: 'adapter',
      adapter: [vendor, architecture, model, description].filter(Boolean).join(' '),
      features: [...adapter.features].sort(),
      maxStorageBufferBindingSize,
      browser: navigator.userAgent,
    };
    const bytes = Math.min(quick ? 16 * MIB : 512 * MIB, maxStorageBufferBindingSize, maxBufferSize);
    facts.copyGBs = await copySpeed(device, bytes, quick);
    facts.readGBs = await readSpeed(device, bytes, quick);
    facts.dispatchUs = await dispatchCost(device, quick);
    facts.waitMs = await waitCost(device);
    facts.uploadGBs = {
      writeBuffer: await upload(device, quick, writeBufferPiece),
      stagingRing: await upload(device, quick, stagingPiece()),
    };
    await post('line', facts);
    return facts;
  } finally {
    device.destroy();
  }
}

const storage = (device, size) =>
  device.createBuffer({
    size,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC,
  });

async function compile(device, code) {
  const compute = { module: device.createShaderModule({ code }), entryPoint: 'main' };
  return device.createComputePipelineAsync({ layout: 'auto', compute });
}

function bind(device, pipeline, buffers) {
  const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
  return device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
}

/** Milliseconds of `count` dispatches in one pass, the end seen; the best of three. */
async function timed(device, pipeline, group, workgroups, count) {
  let best = Infinity;
  for (let round = 0; round < 4; round += 1) {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let i = 0; i < count; i += 1) pass.dispatchWorkgroups(workgroups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    if (round > 0) best = Math.min(best, performance.now() - start); // the first warms up
  }
  return best;
}

/** Repeats a pass often enough that the browser's polling step of 2 ms does not count. */
async function gigabytes(device, pipeline, group, bytes, quick) {
  const once = await timed(device, pipeline, group, 4096, 1);
  const count = quick ? 1 : Math.max(1, Math.min(2000, Math.ceil(100 / once)));
  return round((bytes * count) / 1e6 / (await timed(device, pipeline, group, 4096, count)));
}

async function copySpeed(device, bytes, quick) {
  const pipeline = await compile(
    device,
    `@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
     @group(0) @binding(1) var<storage, read_write> b: array<vec4<u32>>;
     @compute @workgroup_size(256)
     fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
       for (var i = id.x; i < arrayLength(&a); i += groups.x * 256u) { b[i] = a[i]; }
     }`,
  );
  const [from, to] = [storage(device, bytes), storage(device, bytes)];
  const speed = await gigabytes(device, pipeline, bind(device, pipeline, [from, to]), 2 * bytes, quick);
  from.destroy();
  to.destroy();
  return speed;
}

async function readSpeed(device, bytes, quick) {
  const pipeline = await compile(
    device,
    `@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;
     @group(0) @binding(1) var<storage, read_write> b: array<vec4<u32>>;
     @compute @workgroup_size(256)
     fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
       var sum = vec4<u32>(0u);
       for (var i = id.x; i < arrayLength(&a); i += groups.x * 256u) { sum += a[i]; }
       if (sum.x == 1u) { b[0] = sum; }
     }`,
  );
  const [from, to] = [storage(device, bytes), storage(device, 16)];
  const speed = await gigabytes(device, pipeline, bind(device, pipeline, [from, to]), bytes, quick);
  from.destroy();
  return speed;
}

/** Microseconds of a small dispatch that waits for the one before it. */
async function dispatchCost(device, quick) {
  const pipeline = await compile(
    device,
    `@group(0) @binding(0) var<storage, read_write> a: array<u32>;
     @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { a[i] = a[i] * 3u + 1u; }`,
  );
  const group = bind(device, pipeline, [storage(device, 256)]);
  const [few, many] = quick ? [10, 100] : [200, 4200];
  const difference =
    (await timed(device, pipeline, group, 1, many)) - (await timed(device, pipeline, group, 1, few));
  return round((difference * 1000) / (many - few));
}

/** Milliseconds from a submit to the first byte read back, nothing else to do. */
async function waitCost(device) {
  const source = storage(device, 16);
  const target = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const times = [];
  for (let i = 0; i < 21; i += 1) {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(source, 0, target, 0, 16);
    device.queue.submit([encoder.finish()]);
    await target.mapAsync(GPUMapMode.READ);
    target.unmap();
    times.push(performance.now() - start);
  }
  return round(times.sort((a, b) => a - b)[10]);
}

const PIECE = 16 * MIB;

async function upload(device, quick, piece) {
  const target = storage(device, PIECE);
  const bytes = new Uint8Array(PIECE).fill(7);
  const count = quick ? 2 : 32;
  await piece(device, target, bytes);
  await device.queue.onSubmittedWorkDone();
  const start = performance.now();
  for (let i = 0; i < count; i += 1) await piece(device, target, bytes);
  await device.queue.onSubmittedWorkDone();
  const speed = round((count * PIECE) / 1e6 / (performance.now() - start));
  target.destroy();
  return speed;
}

async function writeBufferPiece(device, target, bytes) {
  device.queue.writeBuffer(target, 0, bytes);
}

/** A ring of four mapped buffers: while one travels, the next is filled. */
function stagingPiece() {
  const ring = [];
  let turn = 0;
  return async (device, target, bytes) => {
    if (ring.length < 4) {
      const usage = GPUBufferUsage.MAP_WRITE | GPUBufferUsage.COPY_SRC;
      const buffer = device.createBuffer({ size: PIECE, usage, mappedAtCreation: true });
      ring.push({ buffer, mapped: Promise.resolve() });
    }
    const slot = ring[turn % 4];
    turn += 1;
    await slot.mapped;
    new Uint8Array(slot.buffer.getMappedRange()).set(bytes);
    slot.buffer.unmap();
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(slot.buffer, 0, target, 0, PIECE);
    device.queue.submit([encoder.finish()]);
    slot.mapped = slot.buffer.mapAsync(GPUMapMode.WRITE);
  };
}

// ---- the engine

async function measureModel(name, source, known, adapter, job, post) {
  const start = performance.now();
  const engine = await Engine.load(source, { backend: 'gpu' });
  try {
    const line = { test: 'model', model: name, backend: engine.info.backend, gpu: engine.info.gpu };
    line.loadSeconds = round((performance.now() - start) / 1000);
    line.prefill = {};
    for (const count of job.quick ? [16] : [128, 512, 2048]) {
      line.prefill[count] = await best(job, () => prefill(engine, count));
    }
    line.decode = {};
    for (const prompt of job.quick ? [8] : [64, 1024]) {
      line.decode[`after ${prompt}`] = await best(job, () => decode(engine, prompt, job.quick ? 8 : 192));
    }
    const fastest = Math.max(...Object.values(line.decode));
    const weightBytes = known.weightBytes ?? engine.info.memoryBytes;
    line.msPerToken = split(1000 / fastest, weightBytes, engine.info.gpu?.dispatchesPerToken, adapter);
    await post('line', line);
    return 1000 / fastest;
  } finally {
    await engine.dispose();
  }
}

/** Where a token's milliseconds go. */
function split(total, weightBytes, dispatches, adapter) {
  const weights = weightBytes / 1e6 / adapter.readGBs;
  const overhead = ((dispatches ?? 0) * adapter.dispatchUs) / 1000;
  return {
    total: round(total),
    weightsAtReadSpeed: round(weights),
    dispatches: round(overhead),
    rest: round(total - weights - overhead),
  };
}

/** Bytes a second of the matrix-vector kernel on matrices as wide as the 1B model's and far taller: what one more layer costs. */
async function measureMatvec(adapter, job, post) {
  const shape = {
    width: 2048,
    ffn: job.quick ? 2048 : 65536,
    heads: 32,
    kvHeads: 8,
    headDim: 64,
    contextLength: 512,
  };
  const measured = [];
  for (const layers of [1, 3]) {
    const { blob, weightBytes } = llama({ ...shape, layers });
    const engine = await Engine.load(blob, { backend: 'gpu' });
    const tokens = await best(job, () => decode(engine, 8, job.quick ? 8 : 192));
    measured.push({ ms: 1000 / tokens, weightBytes });
    await engine.dispose();
  }
  const [one, three] = measured;
  const gigabytesPerSecond = (three.weightBytes - one.weightBytes) / 1e6 / (three.ms - one.ms);
  await post('line', {
    test: 'matvec',
    gigabytesPerSecond: round(gigabytesPerSecond),
    ofCopy: round(gigabytesPerSecond / adapter.copyGBs),
  });
}

const tokensOf = (engine, count) =>
  Array.from({ length: count }, (_, i) => (i * 7919 + 13) % engine.info.vocabSize);

async function best(job, once) {
  await once(); // to warm up
  const runs = [];
  for (let i = 0; i < (job.quick ? 1 : 3); i += 1) runs.push(await once());
  return round(Math.max(...runs));
}

async function prefill(engine, count) {
  const tokens = tokensOf(engine, count);
  const start = performance.now();
  await engine.logits(tokens);
  return (count / (performance.now() - start)) * 1000;
}

async function decode(engine, prompt, count) {
  const answer = await engine.complete({
    prompt: tokensOf(engine, prompt),
    max_tokens: count,
    temperature: 0,
    ignore_eos: true,
  });
  return answer.inkling.timings.decode_tps;
}

const round = (value) => Math.round(value * 1000) / 1000;
