// Starts the worker: from the file beside this one, or whatever the caller brings.
import { EngineError, messageOf } from './errors.js';
import type { WorkerLike } from './types.js';

/** Throws `unsupported_browser` on a server, and where else there are no workers. */
export function requireWorkers(): void {
  if (typeof Worker === 'function') return;
  throw new EngineError(
    'unsupported_browser',
    'There are no Web Workers here; load the engine in a browser.',
  );
}

/** Gives the caller's worker or starts our own. Throws `worker_failed`. */
export function createWorker(custom: WorkerLike | (() => WorkerLike) | undefined): WorkerLike {
  try {
    if (typeof custom === 'function') return custom();
    return custom ?? ownWorker();
  } catch (cause) {
    if (cause instanceof EngineError) throw cause;
    throw new EngineError('worker_failed', `The worker could not be started: ${messageOf(cause)}`, { cause });
  }
}

function ownWorker(): Worker {
  if (isForeign(import.meta.url)) return foreignWorker(import.meta.url);
  // Bundlers look for exactly this expression.
  return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
}

function isForeign(moduleUrl: string): boolean {
  const { protocol, origin } = new URL(moduleUrl);
  // The page's own origin is not always that of its address: in a sandboxed frame it has none.
  return protocol.startsWith('http') && origin !== globalThis.origin;
}

/** Browsers start no worker from another origin, a CDN say; one of our own may import from there. */
function foreignWorker(moduleUrl: string): Worker {
  const script = `import ${JSON.stringify(new URL('./worker.js', moduleUrl).href)};`;
  // Without an origin Chromium reads no module from a Blob. One is not revoked: the helpers of the worker's pool start from
  // the same address, whenever threads begin.
  const url =
    globalThis.origin === 'null'
      ? `data:text/javascript,${encodeURIComponent(script)}`
      : URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  return new Worker(url, { type: 'module' });
}
