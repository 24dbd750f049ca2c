// A host with a fake wasm module behind a MessageChannel, as the client sees a worker.
import { after } from 'node:test';
import { Engine } from '../src/engine.js';
import { serve } from '../src/host.js';
import type { Verdicts } from '../src/gpu-verdicts.js';
import type { HostPort } from '../src/host.js';
import type { LoadOptions, ModelSource, WorkerLike } from '../src/types.js';
import { fakeWasm } from './fake-wasm.js';
import type { FakeOptions } from './fake-wasm.js';

/** A worker that is none: it can be made to crash, and tells whether it was terminated. */
export interface FakeWorker extends WorkerLike {
  crash(message: string): void;
  terminated: boolean;
}

// Open ports would keep the test process alive.
const ports: MessagePort[] = [];
after(() => {
  for (const port of ports) port.close();
});

/** Serves a fake wasm module. */
export function fakeWorker(options: FakeOptions = {}, verdicts?: Verdicts): FakeWorker {
  const { port1, port2 } = new MessageChannel();
  serve(port1 as unknown as HostPort, () => Promise.resolve(fakeWasm(options)), verdicts);
  port1.start();
  ports.push(port2);
  const events = new EventTarget();
  port2.onmessage = (message) => events.dispatchEvent(new MessageEvent('message', { data: message.data }));
  return {
    terminated: false,
    postMessage: (message) => port2.postMessage(message),
    addEventListener: (type: string, listener: (event: MessageEvent) => void) =>
      events.addEventListener(type, listener as (event: Event) => void),
    terminate() {
      this.terminated = true;
      port2.close();
    },
    crash: (message) => events.dispatchEvent(Object.assign(new Event('error'), { message })),
  };
}

/** Bytes that the fake takes for a model. */
export function modelBytes(size = 64, text = ''): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.max(size, 4 + text.length));
  bytes.set(new TextEncoder().encode(`GGUF${text}`));
  return bytes;
}

/** An engine on a fake. */
export async function loadFake(
  fake: FakeOptions = {},
  source: ModelSource = modelBytes(),
  options: LoadOptions = {},
): Promise<{ engine: Engine; worker: FakeWorker }> {
  const worker = fakeWorker(fake);
  return { engine: await Engine.load(source, { worker, ...options }), worker };
}

/** Everything a stream gives. */
export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** For `assert.rejects`: an EngineError with this code. */
export function code(expected: string, pattern?: RegExp): (error: unknown) => boolean {
  return (error) => {
    const { name, code: actual, message } = error as { name: string; code: string; message: string };
    if (name !== 'EngineError' || actual !== expected || (pattern && !pattern.test(message))) {
      throw new Error(`expected ${expected} ${String(pattern ?? '')}, got ${name} ${actual}: ${message}`);
    }
    return true;
  };
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
