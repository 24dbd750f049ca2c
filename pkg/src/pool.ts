// The helpers of the engine's thread pool: workers that share its memory and never return from it.

/** What a helper needs to join. */
export interface JoinMessage {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
}

/** By its name a worker knows that it is to be a helper. */
export const HELPER_NAME = 'inkling-helper';

/** A helper that has not said anything by then is not waited for; should it come later, it joins later. */
const PATIENCE_MS = 5000;

/** Starts `count` helpers and waits until each has joined, failed or run out of time. Fewer threads are no error. */
export async function startHelpers(
  count: number,
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
): Promise<void> {
  const message: JoinMessage = { module, memory };
  await Promise.all(Array.from({ length: count }, () => startHelper(message)));
}

function startHelper(message: JoinMessage): Promise<void> {
  return new Promise((resolve) => {
    try {
      // The script of this very worker: one of its own would be the same glue once more.
      const worker = new Worker(globalThis.location.href, { type: 'module', name: HELPER_NAME });
      worker.onmessage = () => resolve();
      worker.onerror = (event) => {
        // Not to be reported as an error of the engine's own worker.
        event.preventDefault();
        resolve();
      };
      worker.postMessage(message);
      setTimeout(resolve, PATIENCE_MS);
    } catch {
      resolve();
    }
  });
}
