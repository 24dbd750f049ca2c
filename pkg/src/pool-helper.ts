// A helper's side: joins the engine's pool and stays in it until the engine's worker ends.
import init, { joinPool } from './inkling_threads.js';
import type { JoinMessage } from './pool.js';

/** A kernel needs little stack; the default of 2 MB for each helper would be waste. */
const STACK_BYTES = 256 * 1024;

/** Waits for what it needs, joins, and says `joined` or `failed`. */
export function help(): void {
  globalThis.addEventListener('message', ({ data }: MessageEvent<JoinMessage>) => {
    const { module, memory } = data;
    void init({ module_or_path: module, memory, thread_stack_size: STACK_BYTES }).then(
      () => {
        globalThis.postMessage('joined');
        joinPool();
      },
      () => globalThis.postMessage('failed'),
    );
  });
}
