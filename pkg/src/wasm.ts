// Brings up the wasm module inside the worker: the best build that this browser runs and the package carries.
import { builds } from './builds.js';
import { candidates, defaultThreads } from './choose-build.js';
import type { BuildName } from './choose-build.js';
import { EngineError, messageOf } from './errors.js';
import { requireWasmSimd, wasmFeatures } from './features.js';
import { requestGpuFeatures } from './gpu-features.js';
import * as plain from './inkling.js';
import type { ByteSource, WasmEngine, WasmHeader } from './inkling.js';
import * as shared from './inkling_threads.js';
import { startHelpers } from './pool.js';

/** The part of the generated module that the host uses; tests give a fake one. */
export interface WasmModule {
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
}

/** Fetches and instantiates the engine, and starts the helpers of its thread pool. */
export async function loadWasm({ threads, wasmUrl }: Wish): Promise<WasmModule> {
  requireWasmSimd();
  requestGpuFeatures();
  const count = Math.max(1, Math.floor(threads ?? defaultThreads()));
  if (wasmUrl !== undefined) return instantiate('simd', wasmUrl, 1);
  let failure: unknown;
  for (const name of candidates(count, wasmFeatures(), Object.keys(builds))) {
    const url = builds[name]?.();
    if (!url) continue;
    try {
      return await instantiate(name, url.href, count);
    } catch (error) {
      // A phone may refuse to reserve shared memory: the next build needs none.
      failure ??= error;
      if (!name.endsWith('_threads')) break;
    }
  }
  throw (
    failure ?? new EngineError('worker_failed', 'This copy of the package carries no build of the engine.')
  );
}

async function instantiate(name: BuildName, url: string, threads: number): Promise<WasmModule> {
  const response = await fetchWasm(url);
  try {
    if (!name.endsWith('_threads')) {
      await plain.default({ module_or_path: response });
      return plain;
    }
    const module = await compile(response);
    const { memory } = await shared.default({ module_or_path: module });
    await startHelpers(threads - 1, module, memory);
    return shared;
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
