// Brings up the wasm module inside the worker.
import { EngineError, messageOf } from './errors.js';
import { requireWasmSimd } from './features.js';
import init, { inspect, renderTemplate, WasmEngine } from './inkling.js';
import type { ByteSource } from './inkling.js';

/** The part of the generated module that the host uses; tests give a fake one. */
export interface WasmModule {
  inspect(prefix: Uint8Array, fileSize: number): string;
  renderTemplate(template: string, contextJson: string): string;
  WasmEngine: {
    load(
      sources: ByteSource[],
      optionsJson: string,
      onProgress: (json: string) => boolean,
    ): Promise<WasmEngine>;
  };
}

/**
 * Fetches and instantiates the engine. There is one build so far; builds for relaxed SIMD and for threads will be
 * chosen here, by `wasmFeatures()`.
 */
export async function loadWasm(wasmUrl?: string): Promise<WasmModule> {
  requireWasmSimd();
  const url = wasmUrl ?? new URL('./inkling_bg.wasm', import.meta.url).href;
  const response = await fetchWasm(url);
  try {
    await init({ module_or_path: response });
  } catch (cause) {
    const message =
      `The engine could not be compiled: ${messageOf(cause)}. ` +
      `A Content-Security-Policy must allow 'wasm-unsafe-eval', and ${url} must be the wasm file.`;
    throw new EngineError('worker_failed', message, { cause, url });
  }
  return { inspect, renderTemplate, WasmEngine };
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
