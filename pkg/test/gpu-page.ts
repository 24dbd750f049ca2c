// Pages of a Chromium with WebGPU on a software adapter, and workers whose GPU a test can reach.
import { after } from 'node:test';
import type { Browser } from 'playwright-core';
import { answers, here, origin, root } from './page.js';

/**
 * Runs in the worker before the engine: keeps the devices that it asks for and the memory of its wasm module, counts
 * what is made, and does what the page says through a channel. The worker's name is the GPU's memory in bytes, if that
 * is to be small, `refusing`, or else the adapter's name, if the engine is to take it for a real one.
 */
function hooks(): void {
  interface Device {
    destroy(): void;
  }
  const scope = globalThis as unknown as Record<string, { prototype: Record<string, unknown> }>;
  const devices: Device[] = [];
  const counts: Record<string, number> = {};
  let heap: { buffer: ArrayBufferLike } | undefined;
  const wrap = (name: string, method: string, then: (result: unknown, self: unknown) => unknown): void => {
    const { prototype } = scope[name] as { prototype: Record<string, (...all: unknown[]) => unknown> };
    const original = prototype[method];
    prototype[method] = function (...all) {
      counts[method] = (counts[method] ?? 0) + 1;
      return then(original?.apply(this, all), this);
    };
  };
  wrap('GPUAdapter', 'requestDevice', (promise) =>
    (promise as Promise<Device>).then((device) => {
      devices.push(device);
      return device;
    }),
  );
  const name = String(Reflect.get(globalThis, 'name'));
  if (Number.isNaN(Number(name)) && name !== 'refusing') {
    const told = { vendor: name, architecture: '', device: '', description: '', isFallbackAdapter: false };
    for (const [part, value] of Object.entries(told)) {
      Object.defineProperty(scope['GPUAdapterInfo']?.prototype, part, { get: () => value });
    }
  }
  const memory = Number(name) || Infinity;
  let [given, held] = [0, 0];
  let refuses = false;
  wrap('GPUDevice', 'createBuffer', (buffer) => {
    given += (buffer as { size: number }).size;
    held += (buffer as { size: number }).size;
    refuses ||= given > memory;
    return buffer;
  });
  wrap('GPUBuffer', 'destroy', (_, buffer) => void (held -= (buffer as { size: number }).size));
  wrap('GPUDevice', 'popErrorScope', (popped) => {
    if (!refuses) return popped;
    refuses = false;
    const { GPUOutOfMemoryError } = globalThis as unknown as Record<string, new (message: string) => Error>;
    return Promise.resolve(GPUOutOfMemoryError && new GPUOutOfMemoryError('no room'));
  });
  for (const method of ['createComputePipeline', 'createBindGroup']) {
    wrap('GPUDevice', method, (result) => result);
  }
  // A compiler that refuses the first kernel, where the worker's name says so.
  wrap('GPUDevice', 'createComputePipelineAsync', (promise) => {
    const isFirst = name === 'refusing' && counts['createComputePipelineAsync'] === 1;
    return isFirst ? (promise as Promise<unknown>).then(() => Promise.reject(new Error('refused'))) : promise;
  });
  const { instantiateStreaming, instantiate } = WebAssembly;
  const seen = (result: WebAssembly.WebAssemblyInstantiatedSource): typeof result => {
    heap = result.instance.exports['memory'] as { buffer: ArrayBufferLike } | undefined;
    return result;
  };
  WebAssembly.instantiateStreaming = (...all) => instantiateStreaming(...all).then(seen);
  const compile = instantiate as (...all: unknown[]) => Promise<WebAssembly.WebAssemblyInstantiatedSource>;
  WebAssembly.instantiate = ((...all: unknown[]) => compile(...all).then(seen)) as typeof instantiate;
  const channel = new BroadcastChannel('gpu');
  channel.onmessage = ({ data }) => {
    if (data === 'lose') devices.at(-1)?.destroy();
    if (data === 'ask') {
      channel.postMessage({ ...counts, held, devices: devices.length, heap: heap?.buffer.byteLength ?? 0 });
    }
  };
}

const script = (text: string) => (response: import('node:http').ServerResponse) =>
  void response.setHeader('content-type', 'text/javascript').end(text);
answers.set('/hooks.js', script(`(${hooks.toString()})();`));
// Modules run in the order in which they are imported.
answers.set('/gpu-worker.js', script(`import '/hooks.js'; import '/pkg/dist/worker.js';`));

let browser: Promise<Browser> | undefined;
after(async () => (await browser)?.close());

/** Runs `body` in a page that has WebGPU. `globalThis.crashGpu()` there ends the browser's GPU process. */
export async function onGpu<A, T>(body: (argument: A) => Promise<T>, argument: A): Promise<T> {
  const { launch } = (await import(`${root}xtask/browser/chromium.mjs`)) as {
    launch(options: { webgpu: string }): Promise<Browser>;
  };
  browser ??= launch({ webgpu: 'software' });
  const page = await (await browser).newPage();
  page.on('console', (message) => {
    if (message.type() === 'error') console.error(message.text());
  });
  try {
    await page.exposeFunction('crashGpu', async () => {
      const session = await (await browser)?.newBrowserCDPSession();
      await session?.send('Browser.crashGpuProcess');
    });
    await page.goto(`${origin(here)}/plain`);
    return await page.evaluate(body as (argument: unknown) => Promise<T>, argument);
  } finally {
    await page.close();
  }
}
