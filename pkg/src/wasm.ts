// Brings up the wasm module inside the worker: the best build that this browser runs and the package carries.
import { builds } from './builds.js';
import { candidates, defaultThreads } from './choose-build.js';
import { EngineError, messageOf } from './errors.js';
import { requireWasmSimd, wasmFeatures } from './features.js';
import { requestGpuFeatures } from './gpu-features.js';
import * as plain from './inkling.js';
import type { ByteSource, WasmEngine, WasmHeader } from './inkling.js';
import * as shared from './inkling_threads.js';
import { startHelpers } from './pool.js';
import { reserveMemory } from './shared-memory.js';

/** The part of the generated module that the host uses; tests give a fake one. */
export interface WasmModule {
  /** Of the instance. */
  memory?: WebAssembly.Memory;
  WasmHeader: new (files: number, optionsJson: string) => WasmHeader;
  renderTemplate(template: string, contextJson: string): string;
  WasmEngine: {
    load(
      sources: ByteSource[],
      optionsJson: string,
      onProgress: (json: string) => boolean,
      header?: WasmHeader,
    ): Promise<WasmEngine>;
  };
}

/** What decides between builds. */
export interface Wish {
  /** Threads asked for; by default as many as leave the page a core. */
  threads?: number | undefined;
  /** Where the plain build lies, for servers that move files. It runs on one thread. */
  wasmUrl?: string | undefined;
  /** Size of the model's files, as soon as it is known. */
  fileBytes: Promise<number>;
}

/** Fetches and instantiates the engine, and starts the helpers of its thread pool. */
export async function loadWasm({ threads, wasmUrl, fileBytes }: Wish): Promise<WasmModule> {
  requireWasmSimd();
  requestGpuFeatures();
  const features = wasmFeatures();
  const count = features.threads ? Math.max(1, Math.floor(threads ?? defaultThreads())) : 1;
  if (wasmUrl !== undefined) return instantiate(wasmUrl);
  let memory: WebAssembly.Memory | null | undefined;
  let failure: unknown;
  for (const name of candidates(count, features, Object.keys(builds))) {
    const url = builds[name]?.();
    if (!url) continue;
    const threaded = name.endsWith('_threads');
    // Without it the glue would wait by a worker of its own, with which only an isolated page shares memory.
    if (threaded && !features.threads && !('waitAsync' in Atomics)) continue;
    if (threaded && memory === undefined) memory = await reserveMemory(fileBytes);
    if (threaded && !memory) continue;
    try {
      return await instantiate(url.href, threaded && memory ? { memory, count } : undefined);
    } catch (error) {
      failure ??= error;
      if (!threaded) break;
    }
  }
  throw (
    failure ?? new EngineError('worker_failed', 'This copy of the package carries no build of the engine.')
  );
}

async function instantiate(
  url: string,
  threads?: { memory: WebAssembly.Memory; count: number },
): Promise<WasmModule> {
  const response = await fetchWasm(url);
  try {
    if (!threads) {
      const { memory } = await plain.default({ module_or_path: response });
      return { ...plain, memory };
    }
    const module = await compile(response);
    const { memory, count } = threads;
    await shared.default({ module_or_path: module, memory });
    await startHelpers(count - 1, module, memory);
    return { ...shared, memory };
  } catch (cause) {
    const message =
      `The engine could not be compiled: ${messageOf(cause)}. ` +
      `A Content-Security-Policy must allow 'wasm-unsafe-eval', and ${url} must be the wasm file.`;
    throw new EngineError('worker_failed', message, { cause, url });
  }
}

async function compile(response: Response): Promise<WebAssembly.Module> {
  const type = response.headers.get('content-type') ?? '';
  if (type.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

async function fetchWasm(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: 'same-origin' });
  } catch (cause) {
    throw new EngineError('network', `The engine could not be fetched from ${url}.`, { cause, url });
  }
  if (response.ok) return response;
  const message = `The engine could not be fetched: the server answered ${response.status} for ${url}.`;
  throw new EngineError('http_status', message, { status: response.status, url });
}
