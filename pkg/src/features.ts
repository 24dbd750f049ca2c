// What this browser's WebAssembly can do, asked by validating the smallest module that uses each feature.
import { EngineError } from './errors.js';

// Both are one function `() -> v128`: (i32x4.splat 0), then with (i32x4.relaxed_trunc_f32x4_s) for the relaxed one.
const HEADER = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0];
const SIMD = [...HEADER, 10, 8, 1, 6, 0, 65, 0, 253, 17, 11];
const RELAXED_SIMD = [...HEADER, 10, 11, 1, 9, 0, 65, 0, 253, 17, 253, 129, 2, 11];

/** WebAssembly features that decide which build of the engine runs. */
export interface WasmFeatures {
  simd: boolean;
  relaxedSimd: boolean;
  /** Shared memory: the page is cross-origin isolated, and the browser lets workers have it (WebKitGTK does not). */
  threads: boolean;
}

/** Asks the browser. */
export function wasmFeatures(): WasmFeatures {
  return {
    simd: validates(SIMD),
    relaxedSimd: validates(RELAXED_SIMD),
    threads: globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === 'function',
  };
}

/** Throws `unsupported_browser` where the engine cannot run at all. */
export function requireWasmSimd(): void {
  if (wasmFeatures().simd) return;
  throw new EngineError(
    'unsupported_browser',
    'This browser lacks WebAssembly SIMD. Chrome 100, Firefox 114, Safari 16.4 and later run the engine.',
  );
}

function validates(bytes: readonly number[]): boolean {
  return typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(bytes));
}
