import { abortError } from './errors.js';

/** Runs tasks one at a time, first come first served. A task whose signal fires while it waits never starts. */
export class TaskQueue {
  #last: Promise<void> = Promise.resolve();

  /** Waits for all earlier tasks, then runs this one. Rejects with code `aborted` if `signal` fires before. */
  async run<T>(task: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last;
    let leave = (): void => undefined;
    this.#last = new Promise((resolve) => (leave = resolve));
    try {
      await (signal ? untilAborted(before, signal) : before);
      return await task();
    } finally {
      void before.then(leave);
    }
  }
}

/** The promise's outcome, or a rejection with code `aborted` as soon as the signal fires. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortError(signal.reason));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
