// The page's side of the wire: numbers the calls and matches the worker's answers to them.
import { abortError, EngineError, fromWireError, messageOf } from './errors.js';
import type { CallKind, Calls, Event, GenerationEvent, Request, Results } from './protocol.js';
import type { TextProgress } from './text-types.js';
import type { LoadProgress, ModelInfo, WorkerLike } from './types.js';

/** What a call may tell before it ends. */
export interface Listeners {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  onTexts?: ((progress: TextProgress) => void) | undefined;
  onGeneration?: ((events: GenerationEvent[]) => void) | undefined;
}

/** A call under way. */
export interface Call<T> {
  readonly result: Promise<T>;
  /** Asks the worker to end the call early; the result still comes from the worker. */
  cancel(): void;
  /** Rejects the result with `error` at once, and lets the worker end the call. */
  drop(error: EngineError): void;
}

interface Pending extends Listeners {
  resolve(value: Results[CallKind]): void;
  reject(error: EngineError): void;
}

/** How long a disposed worker may take to free its memory before it is ended all the same. */
const GOODBYE_MS = 1000;

/** Ids are unique in the page, so that two engines on one worker by mistake cannot take each other's answers. */
let lastId = 0;

/** Talks to one worker. */
export class Client {
  readonly #worker: WorkerLike;
  readonly #pending = new Map<number, Pending>();
  /** Called when something new is known of the model. */
  onInfo: (info: ModelInfo) => void = () => undefined;
  /** Called while a lost GPU is replaced, with null at the end of it. */
  onRecovery: (progress: LoadProgress | null) => void = () => undefined;
  #heard = false;
  #closed: EngineError | undefined;

  constructor(worker: WorkerLike) {
    this.#worker = worker;
    worker.addEventListener('message', (message) => this.#receive(message.data as Event));
    worker.addEventListener('error', (event) => this.#crashed(event));
    worker.addEventListener('messageerror', () => this.#crashed());
  }

  /** Starts a call. */
  start<K extends CallKind>(kind: K, payload: Calls[K], listeners: Listeners = {}): Call<Results[K]> {
    lastId += 1;
    const id = lastId;
    const result = new Promise<Results[K]>((resolve, reject) => {
      if (this.#closed) return reject(this.#closed);
      // The worker answers each call with the result of its kind.
      const pending = { ...listeners, resolve: resolve as (value: Results[CallKind]) => void, reject };
      this.#pending.set(id, pending);
      try {
        this.#send({ kind, id, ...payload } as Request);
      } catch (cause) {
        this.#pending.delete(id);
        reject(
          new EngineError('invalid_request', `The request cannot be sent: ${messageOf(cause)}`, { cause }),
        );
      }
    });
    const cancel = (): void => {
      if (this.#pending.has(id) && !this.#closed) this.#send({ kind: 'cancel', id });
    };
    const drop = (error: EngineError): void => {
      cancel();
      this.#settle(id)?.reject(error);
    };
    return { result, cancel, drop };
  }

  /** Starts a call and waits for its result. Rejects with code `aborted` as soon as the signal fires. */
  call<K extends CallKind>(
    kind: K,
    payload: Calls[K],
    { signal, ...listeners }: Listeners & { signal?: AbortSignal | undefined } = {},
  ): Promise<Results[K]> {
    if (signal?.aborted) return Promise.reject(abortError(signal.reason));
    const call = this.start(kind, payload, listeners);
    return dropOnAbort(call, signal);
  }

  /** Rejects everything pending with `error` and ends the worker. Later calls get the same error. */
  close(error: EngineError): void {
    this.detach(error);
    this.#worker.terminate();
  }

  /** As `close`, but leaves the worker alive. */
  detach(error: EngineError): void {
    this.#closed ??= error;
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(error);
  }

  /** As `close`, but lets the worker free its memory first. */
  async shutDown(error: EngineError): Promise<void> {
    if (this.#closed) return this.close(error);
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(error);
    const freed = this.call('dispose', {});
    this.#closed = error;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => (timer = setTimeout(resolve, GOODBYE_MS)));
    await Promise.race([freed, late]).catch(() => undefined);
    clearTimeout(timer);
    this.close(error);
  }

  #receive(event: Event): void {
    this.#heard = true;
    if (event.kind === 'info') return this.onInfo(event.info);
    if (event.kind === 'recovery') return this.onRecovery(event.progress);
    const pending = this.#pending.get(event.id);
    if (!pending) return;
    switch (event.kind) {
      case 'progress':
        return shielded(() => pending.onProgress?.(event.progress));
      case 'texts':
        return shielded(() => pending.onTexts?.({ done: event.done, total: event.total }));
      case 'generation':
        return pending.onGeneration?.(event.events);
      case 'result':
        this.#settle(event.id);
        return pending.resolve(event.value);
      case 'error':
        this.#settle(event.id);
        return pending.reject(fromWireError(event.error));
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    return pending;
  }

  #send(request: Request): void {
    this.#worker.postMessage(request);
  }

  #crashed(event?: globalThis.Event): void {
    const detail = event && 'message' in event && event.message ? `: ${String(event.message)}` : '.';
    const message = this.#heard
      ? `The worker crashed${detail} Load the model again.`
      : `The worker could not start${detail} Check the connection, that worker.js is served, and that the page's ` +
        'Content-Security-Policy allows it.';
    this.close(new EngineError('worker_failed', message));
  }
}

/** Runs the caller's callback; what it throws is reported as uncaught and disturbs nothing here. */
export function shielded(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** The call's result; the signal drops the call. */
export async function dropOnAbort<T>(call: Call<T>, signal: AbortSignal | undefined): Promise<T> {
  const onAbort = (): void => call.drop(abortError(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await call.result;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}
