// The glue of the builds for threads: the same exports, and what shared memory needs.
export { renderTemplate, WasmEngine, WasmGeneration, WasmHeader } from './inkling.js';
export type { ByteSource } from './inkling.js';

/** Instantiates the module in this worker, with memory of its own or another worker's. */
export default function init(input: {
  module_or_path: WebAssembly.Module;
  memory: WebAssembly.Memory;
  thread_stack_size?: number;
}): Promise<unknown>;

/** Makes this worker a helper of the thread pool. Never returns. */
export function joinPool(): void;
