// Starts the worker: from the file beside this one, or whatever the caller brings.
import { EngineError, messageOf } from './errors.js';
import type { WorkerLike } from './types.js';

/** Gives the caller's worker or starts our own. Throws `unsupported_browser` or `worker_failed`. */
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
  if (typeof Worker !== 'function') {
    throw new EngineError(
      'unsupported_browser',
      'There are no Web Workers here; load the engine in a browser.',
    );
  }
  if (isForeign(import.meta.url)) return foreignWorker(import.meta.url);
  // Bundlers look for exactly this expression.
  return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
}

function isForeign(moduleUrl: string): boolean {
  const { protocol, origin } = new URL(moduleUrl);
  return protocol.startsWith('http') && origin !== globalThis.location.origin;
}

/** Browsers start no worker from another origin, a CDN say; one of our own may import from there. */
function foreignWorker(moduleUrl: string): Worker {
  const script = `import ${JSON.stringify(new URL('./worker.js', moduleUrl).href)};`;
  // Not revoked: the helpers of the worker's pool start from the same address, whenever threads begin.
  const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  return new Worker(url, { type: 'module' });
}
