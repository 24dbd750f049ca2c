// Which build of the engine runs best here.
import type { WasmFeatures } from './features.js';

/** Name of a build: instruction set, and whether its memory can be shared by threads. */
export type BuildName = 'simd' | 'relaxed' | 'simd_threads' | 'relaxed_threads';

/** The builds of those `carried` that may run here on so many threads, the best first. */
export function candidates(
  threads: number,
  { relaxedSimd }: Pick<WasmFeatures, 'relaxedSimd'>,
  carried: readonly string[],
): BuildName[] {
  // Relaxed SIMD is worth more than plain memory is, so one thread prefers it even in a build for several: a page that is
  // not isolated may have shared memory, and only not share it.
  const order: BuildName[] =
    threads > 1
      ? ['relaxed_threads', 'simd_threads', 'relaxed', 'simd']
      : ['relaxed', 'relaxed_threads', 'simd', 'simd_threads'];
  return order.filter((name) => carried.includes(name) && (relaxedSimd || !name.startsWith('relaxed')));
}

/** Half of the logical cores, which are often two to a physical one, and always one fewer than there are. */
export function defaultThreads(cores: number = globalThis.navigator?.hardwareConcurrency ?? 1): number {
  return Math.max(1, Math.min(cores - 1, Math.ceil(cores / 2), 8));
}
