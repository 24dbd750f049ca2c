// The worker's side alone: what it answers to raw requests.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Event, Request } from '../src/protocol.js';
import { coreError } from './fake-wasm.js';
import type { FakeOptions } from './fake-wasm.js';
import { fakeWorker, modelBytes, sleep } from './harness.js';

interface Wire {
  send(request: Request): void;
  events: Event[];
  /** Waits for the closing event of a request. */
  closed(id: number): Promise<Event>;
}

function connect(fake: FakeOptions = {}): Wire {
  const worker = fakeWorker(fake);
  const events: Event[] = [];
  worker.addEventListener('message', ({ data }) => events.push(data as Event));
  const closing = (id: number): Event | undefined =>
    events.find((event) => (event.kind === 'result' || event.kind === 'error') && event.id === id);
  const closed = async (id: number): Promise<Event> => {
    for (let waited = 0; waited < 5000; waited += 1) {
      const event = closing(id);
      if (event) return event;
      await sleep(1);
    }
    throw new Error(`request ${id} got no answer`);
  };
  return { send: (request) => worker.postMessage(request), events, closed };
}

const load = (id: number): Request => ({
  kind: 'load',
  id,
  sources: [{ kind: 'blob', blob: new Blob([modelBytes()]) }],
  options: {},
  download: {},
});
const ask = (id: number): Request => ({ kind: 'completion', id, request: { prompt: 'x' } });

function codeOf(event: Event): string {
  return event.kind === 'error' ? event.error.code : event.kind;
}

test('nothing works before a model is loaded', async () => {
  const { send, closed } = connect();
  send(ask(1));
  send({ kind: 'tokenize', id: 2, text: 'x', addSpecial: true, parseSpecial: false });
  send({ kind: 'renderTemplate', id: 3, template: '', context: '{}' });
  send({ kind: 'cancel', id: 99 });
  for (const id of [1, 2, 3]) assert.equal(codeOf(await closed(id)), 'invalid_request');
});

test('a cancelled or failed load can be tried again, a second one is refused', async () => {
  const fake: FakeOptions = { loadMs: 400 };
  const { send, closed } = connect(fake);
  send(load(1));
  send(load(2));
  await sleep(50);
  send({ kind: 'cancel', id: 1 });
  assert.equal(codeOf(await closed(2)), 'busy');
  assert.equal(codeOf(await closed(1)), 'aborted');
  fake.loadMs = 0;
  fake.failLoad = coreError('out_of_memory', 'not enough memory');
  send(load(3));
  assert.equal(codeOf(await closed(3)), 'out_of_memory');
  delete fake.failLoad;
  send(load(4));
  assert.equal(codeOf(await closed(4)), 'result');
});

test('disposing during a load frees what was loaded', async () => {
  const log: string[] = [];
  const { send, closed } = connect({ loadMs: 100, log: (entry) => log.push(entry) });
  send(load(1));
  await sleep(20);
  send({ kind: 'dispose', id: 2 });
  assert.equal(codeOf(await closed(2)), 'result');
  assert.equal(codeOf(await closed(1)), 'aborted');
  assert.ok(!log.includes('loaded') || log.includes('free engine'));
});

test('events come in batches, the first token at once', async () => {
  const { send, closed, events } = connect({ answer: 'word '.repeat(20_000) });
  send(load(1));
  await closed(1);
  send(ask(2));
  await closed(2);
  const batches = events.flatMap((event) => (event.kind === 'generation' ? [event.events] : []));
  assert.equal(batches.flat().filter(({ type }) => type === 'token').length, 20_000);
  assert.equal(batches.flat().at(-1)?.type, 'done');
  assert.ok(batches.length < 2000, `${batches.length} batches`);
  const first = batches.find((batch) => batch.some(({ type }) => type === 'token'));
  assert.equal(first?.filter(({ type }) => type === 'token').length, 1);
});

test('unknown errors are `internal` and keep their message', async () => {
  const { send, closed } = connect({ failAtStep: { step: 0, error: 'just a string' } });
  send(load(1));
  await closed(1);
  send(ask(2));
  const event = await closed(2);
  assert.deepEqual(event.kind === 'error' && [event.error.code, event.error.message], [
    'internal',
    'just a string',
  ]);
});
