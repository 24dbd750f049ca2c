// Every way that the engine knows to run a product, timed by itself on matrices of real shapes: what `xtask-native
// kernels` writes. One line for each matrix: bytes a second (one vector) or operations a second (many) of each variant,
// the best of them, and the one that the engine would choose.

const MIB = 1 << 20;

/** Weights are laid out so often that no cache holds them all, as in a model. */
const SPREAD = 192 * MIB;

export async function measureKernels({ kernels, cases }, quick, post) {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
  const has = {
    subgroups: adapter.features.has('subgroups'),
    f32: true,
    f16: adapter.features.has('shader-f16'),
    int8: navigator.gpu.wgslLanguageFeatures.has('packed_4x8_integer_dot_product'),
  };
  const { subgroupMinSize, subgroupMaxSize } = adapter.info;
  has.size = has.subgroups && subgroupMinSize === subgroupMaxSize ? subgroupMinSize : null;
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
  const device = await adapter.requestDevice({
    requiredFeatures: ['subgroups', 'shader-f16', 'timestamp-query'].filter((name) =>
      adapter.features.has(name),
    ),
    requiredLimits: { maxStorageBufferBindingSize, maxBufferSize },
  });
  // A figure of a kernel that did not run would be worth nothing.
  let fault;
  device.addEventListener('uncapturederror', ({ error }) => (fault ??= error));
  try {
    const bench = new Bench(device, kernels, quick ? 4 * MIB : SPREAD, quick);
    const groups = Map.groupBy(cases, (one) => `${one.test} ${one.matrix} ${one.type}`);
    for (const group of groups.values()) {
      const possible = group.filter(
        (one) =>
          (has.subgroups || !one.subgroups) &&
          (one.subgroup === null || one.subgroup === has.size) &&
          has[one.numbers ?? 'f32'],
      );
      const line = await measureGroup(bench, possible, has);
      if (fault) throw new Error(`${line.test} of ${line.matrix}: ${fault.message}`);
      await post('line', line);
    }
  } finally {
    device.destroy();
  }
}

async function measureGroup(bench, cases, has) {
  const { test, matrix, type } = cases[0];
  const unit = test === 'matvec' ? 'GB/s' : 'GFLOP/s';
  const line = { test, matrix, type, unit, variants: {}, chosen: [] };
  let best = 0;
  const weights = bench.weights(cases[0]);
  for (const one of cases) {
    const us = await bench.microseconds(one, weights);
    const speed = (test === 'matvec' ? one.bytes : one.flop) / us / 1000;
    line.variants[one.variant] = Math.round(speed * 10) / 10;
    if (speed > best) {
      best = speed;
      line.best = { variant: one.variant, microseconds: Math.round(us * 10) / 10 };
    }
    if (isChosen(one, has)) line.chosen.push(one.variant);
  }
  for (const buffer of weights.buffers) buffer.destroy();
  return line;
}

/** Whether the engine would take this variant. Of the reductions it takes subgroups where they are. */
function isChosen(one, has) {
  const sized = one.chosen.find(([size]) => size === has.size) ?? one.chosen[0];
  return sized[1] && (one.test === 'matmul' || one.subgroups === has.subgroups);
}

class Bench {
  #device;
  #kernels;
  #spread;
  #quick;
  #pipelines = new Map();
  #fill;
  /** The GPU's own clock: encoding a dispatch takes a browser longer than running a small one takes a GPU. */
  #clock;

  constructor(device, kernels, spread, quick) {
    if (device.features.has('timestamp-query')) this.#clock = new Clock(device);
    this.#device = device;
    this.#kernels = kernels;
    this.#spread = spread;
    this.#quick = quick;
  }

  /** Integers and scales of as many equal matrices as it takes, without a pattern. */
  weights(one) {
    const [quants, scales] = one.buffers.map((bytes) => Math.ceil(Math.max(bytes, 16) / 256) * 256);
    const limit = Math.floor(this.#device.limits.maxStorageBufferBindingSize / quants);
    const copies = Math.max(1, Math.min(512, limit, Math.ceil(this.#spread / (quants + scales))));
    const buffers = [quants, scales].map((bytes) => this.#buffer(bytes * copies, GPUBufferUsage.STORAGE));
    for (const buffer of buffers) this.#scramble(buffer);
    return { copies, buffers, strides: [quants, scales] };
  }

  /** Microseconds of a product whose weights were not read lately; the best of three. */
  async microseconds(one, weights) {
    const device = this.#device;
    const { pipeline, layout } = await this.#pipeline(one.kernel);
    const own = this.#inputs(one);
    const groups = [];
    for (let copy = 0; copy < weights.copies; copy += 1) {
      groups.push(device.createBindGroup({ layout, entries: entries(one, weights, copy, own) }));
    }
    const once = async (count) => {
      const start = performance.now();
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass(this.#clock?.pass);
      pass.setPipeline(pipeline);
      for (let i = 0; i < count; i += 1) {
        pass.setBindGroup(0, groups[i % groups.length]);
        pass.dispatchWorkgroups(...one.grid);
      }
      pass.end();
      this.#clock?.resolve(encoder);
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return this.#clock ? this.#clock.milliseconds() : performance.now() - start;
    };
    const few = this.#quick ? 1 : 16;
    await once(few);
    // As many as last long enough that the browser's polling step of 2 ms does not count.
    let count = few;
    let time = await once(count);
    while (!this.#quick && time < 30 && count < 1e5) {
      count *= 4;
      time = await once(count);
    }
    for (let i = 0; i < (this.#quick ? 0 : 2); i += 1) time = Math.min(time, await once(count));
    for (const buffer of own) buffer.destroy();
    return (time * 1000) / count;
  }

  async #pipeline(index) {
    const known = this.#pipelines.get(index);
    if (known) return known;
    const device = this.#device;
    const { text, bindings } = this.#kernels[index];
    const layout = device.createBindGroupLayout({
      entries: ['read-only-storage', 'uniform', ...bindings].map((type, binding) => ({
        binding,
        visibility: GPUShaderStage.COMPUTE,
        buffer: { type },
      })),
    });
    const module = device.createShaderModule({ code: text });
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: 'main' },
    });
    this.#pipelines.set(index, { pipeline, layout });
    return { pipeline, layout };
  }

  /** State, parameters, and the buffers behind the weights. */
  #inputs(one) {
    const state = this.#buffer(4096 + one.tokens * 4, GPUBufferUsage.STORAGE);
    this.#device.queue.writeBuffer(state, 0, Uint32Array.of(0, one.tokens, 0, one.tokens));
    const params = this.#buffer(256, GPUBufferUsage.UNIFORM);
    this.#device.queue.writeBuffer(params, 0, Uint32Array.from(one.params));
    const rest = one.buffers.slice(2).map((bytes) => this.#buffer(bytes, GPUBufferUsage.STORAGE));
    this.#scramble(rest[0]);
    return [state, params, ...rest];
  }

  #buffer(bytes, usage) {
    const size = Math.ceil(Math.max(bytes, 16) / 16) * 16;
    return this.#device.createBuffer({ size, usage: usage | GPUBufferUsage.COPY_DST });
  }

  /** Fills with floats between 0.25 and 1, whose halves are finite numbers too. */
  #scramble(buffer) {
    const device = this.#device;
    this.#fill ??= device.createComputePipeline({
      layout: 'auto',
      compute: {
        module: device.createShaderModule({
          code: `@group(0) @binding(0) var<storage, read_write> a: array<u32>;
            @compute @workgroup_size(256)
            fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
              for (var i = id.x; i < arrayLength(&a); i += groups.x * 256u) {
                a[i] = 0x3E803400u | (((i * 2654435761u) >> 8u) & 0x00FF03FFu);
              }
            }`,
        }),
      },
    });
    const group = device.createBindGroup({
      layout: this.#fill.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer } }],
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(this.#fill);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(1024);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }
}

/** Times a pass on the GPU. */
class Clock {
  #queries;
  #resolved;
  #read;

  constructor(device) {
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 });
    this.#resolved = device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    this.#read = device.createBuffer({ size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  }

  get pass() {
    const querySet = this.#queries;
    return { timestampWrites: { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } };
  }

  resolve(encoder) {
    encoder.resolveQuerySet(this.#queries, 0, 2, this.#resolved, 0);
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#read, 0, 16);
  }

  async milliseconds() {
    await this.#read.mapAsync(GPUMapMode.READ);
    const [start, end] = new BigUint64Array(this.#read.getMappedRange());
    this.#read.unmap();
    return Number(end - start) / 1e6;
  }
}

/** Bindings of a product with one copy of its weights. */
function entries(one, weights, copy, [state, params, ...rest]) {
  const own = weights.buffers.map((buffer, i) => {
    const size = Math.ceil(Math.max(one.buffers[i], 16) / 16) * 16;
    return { buffer, offset: copy * weights.strides[i], size };
  });
  const resources = [{ buffer: state }, { buffer: params }, ...own, ...rest.map((buffer) => ({ buffer }))];
  return resources.map((resource, binding) => ({ binding, resource }));
}
