// The whole way from Engine through client and host to a fake wasm module and back.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Engine } from '../src/engine.js';
import type { ChatCompletionChunk, ChatMessage } from '../src/index.js';
import type { FakeOptions } from './fake-wasm.js';
import { coreError, FAKE_INFO } from './fake-wasm.js';
import type { FakeWorker } from './harness.js';
import { code, collect, fakeWorker, loadFake, modelBytes, sleep } from './harness.js';

const messages: ChatMessage[] = [{ role: 'user', content: 'Hello' }];
const WORDS = 'one two three four five six seven eight';

const open: Engine[] = [];
async function start(fake: FakeOptions = {}): Promise<{ engine: Engine; worker: FakeWorker; log: string[] }> {
  const log: string[] = [];
  const loaded = await loadFake({ answer: WORDS, log: (entry) => log.push(entry), ...fake });
  open.push(loaded.engine);
  return { ...loaded, log };
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((engine) => engine.dispose()));
});

const textOf = (chunks: ChatCompletionChunk[]): string =>
  chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join('');

test('loads with info and progress', async () => {
  const phases: string[] = [];
  const { engine } = await loadFake({}, modelBytes(100), {
    onProgress: ({ phase, loaded, total }) => phases.push(`${phase} ${loaded}/${total}`),
  });
  assert.deepEqual(engine.info, { ...FAKE_INFO, fileSize: 100 });
  assert.equal(phases[0], 'header 4/4');
  assert.equal(phases.at(-1), 'weights 100/100');
  await engine.dispose();
});

test('tells when something else computes than at first', async () => {
  const news: string[] = [];
  const { engine } = await loadFake({ replacement: 'cpu-simd' }, modelBytes(), {
    onInfo: ({ backend }) => news.push(backend),
  });
  open.push(engine);
  await engine.tokenize('Hello');
  assert.deepEqual([engine.info.backend, news], ['fake', []]);
  await engine.complete({ prompt: 'Hello', max_tokens: 3 });
  assert.deepEqual([engine.info.backend, news], ['cpu-simd', ['cpu-simd']]);
});

test('tells how far the replacement of a lost GPU is, and gives it up when the answer is stopped', async () => {
  const told: string[] = [];
  let stop = (): void => undefined;
  const { engine } = await loadFake({ answer: WORDS, replacement: 'webgpu', stepMs: 5 }, modelBytes(), {
    onInfo: ({ backend }) => told.push(backend),
    onRecovery: (progress) => {
      told.push(progress ? `${progress.phase} ${progress.loaded}/${progress.total}` : 'over');
      stop();
    },
  });
  open.push(engine);
  const stopped = engine.complete({ prompt: 'Hello', stream: true });
  stop = () => stopped.stop();
  const chunks = await collect(stopped);
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(''), 'one two');
  assert.equal(chunks.at(-1)?.choices[0].finish_reason, 'cancelled');
  assert.deepEqual(told, ['weights 0/0', 'over']);
  stop = () => undefined;
  assert.equal((await engine.complete({ prompt: 'Hello' })).choices[0].text, WORDS);
  assert.equal(told[2], 'weights 0/0');
  assert.deepEqual(told.slice(-3), ['weights 20/20', 'webgpu', 'over']);
});

test('answers as a whole', async () => {
  const { engine } = await start();
  const answer = await engine.chat.completions.create({ messages });
  assert.match(answer.id, /^chatcmpl-[0-9a-f]{24}$/);
  assert.equal(answer.object, 'chat.completion');
  assert.equal(answer.model, FAKE_INFO.name);
  assert.ok(Math.abs(answer.created - Date.now() / 1000) < 5);
  assert.deepEqual(answer.choices[0].message, { role: 'assistant', content: WORDS, refusal: null });
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.equal(answer.usage.completion_tokens, 8);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + 8);
  assert.ok(answer.inkling.timings.decode_tps > 0);
});

test('streams chunks in OpenAI shape', async () => {
  const { engine } = await start();
  const prefill: number[] = [];
  const stream = engine.chat.completions.create({
    messages,
    stream: true,
    onPrefill: ({ done, total }) => prefill.push(done / total),
  });
  const chunks = await collect(stream);
  assert.equal(textOf(chunks), WORDS);
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
  assert.deepEqual(chunks[0]?.choices[0].delta, { role: 'assistant', content: '' });
  assert.deepEqual(
    chunks.map(({ choices }) => choices[0].finish_reason),
    [...Array.from({ length: 9 }, () => null), 'stop'],
  );
  const last = chunks.at(-1);
  assert.equal(last?.usage?.completion_tokens, 8);
  assert.equal(last?.inkling?.dropped_messages, 0);
  assert.equal(prefill.at(-1), 1);
  assert.deepEqual(await stream.next(), { done: true, value: undefined });
});

test('completes text and token ids', async () => {
  const { engine, log } = await start();
  const whole = await engine.complete({ prompt: 'Once', max_tokens: 3, temperature: 0 });
  assert.equal(whole.object, 'text_completion');
  assert.equal(whole.choices[0].text, 'one two three');
  assert.equal(whole.choices[0].finish_reason, 'length');
  const chunks = await collect(engine.complete({ prompt: new Uint32Array([1, 2]), stream: true }));
  assert.equal(chunks.map(({ choices }) => choices[0].text).join(''), WORDS);
  assert.match(log.join('\n'), /"promptTokens":\[1,2\]/);
});

test('maps parameters to the engine', async () => {
  const { engine, log } = await start();
  await engine.complete({
    prompt: 'x',
    temperature: 0.5,
    top_k: 3,
    top_p: 0.9,
    min_p: null,
    repetition_penalty: 1.1,
    frequency_penalty: undefined,
    logit_bias: { '7': -100 },
    stop: 'end',
    seed: 42,
  });
  const sent = JSON.parse(
    log.find((entry) => entry.startsWith('completion'))?.slice('completion '.length) ?? '',
  );
  assert.deepEqual(sent, {
    prompt: 'x',
    temperature: 0.5,
    topK: 3,
    topP: 0.9,
    repetitionPenalty: 1.1,
    logitBias: { '7': -100 },
    stop: ['end'],
    seed: 42,
  });
});

test('flattens content, renames the developer role, and refuses pictures', async () => {
  const { engine, log } = await start();
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ] as const;
  await engine.chat.completions.create({
    messages: [
      { role: 'developer', content: 'Be short' },
      { role: 'user', content: parts },
      { role: 'assistant', content: null, tool_calls: [] },
    ],
  });
  assert.deepEqual(JSON.parse(log.find((entry) => entry.startsWith('chat'))?.slice('chat '.length) ?? ''), [
    { role: 'system', content: 'Be short' },
    { role: 'user', content: 'ab' },
    { role: 'assistant', content: '', tool_calls: [] },
  ]);
  const picture = { role: 'user', content: [{ type: 'image_url' }] } as unknown as ChatMessage;
  await assert.rejects(
    engine.chat.completions.create({ messages: [picture] }),
    code('invalid_request', /image_url/),
  );
  await assert.rejects(
    collect(engine.chat.completions.create({ messages: [picture], stream: true })),
    code('invalid_request'),
  );
});

test('a chat tells the local time, for templates that ask', async () => {
  const { engine, log } = await start();
  await engine.chat.completions.create({ messages });
  const told = log.find((entry) => entry.startsWith('now '))?.slice('now '.length) ?? '';
  assert.match(told, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/);
  // Without a zone, a date is read as local time.
  assert.ok(Math.abs(new Date(told).getTime() - Date.now()) < 5000, told);
});

test('leaving the loop cancels the generation', async () => {
  const { engine, log } = await start({ stepMs: 5 });
  for await (const chunk of engine.chat.completions.create({ messages, stream: true })) {
    if (chunk.choices[0].delta.content === ' two') break;
  }
  await engine.chat.completions.create({ messages });
  assert.equal(log.filter((entry) => entry === 'cancel generation').length, 1);
  assert.equal(log.filter((entry) => entry === 'free generation').length, 2);
});

test('stop() ends the stream with usage and timings', async () => {
  const { engine } = await start({ stepMs: 5 });
  const stream = engine.chat.completions.create({ messages, stream: true });
  const chunks: ChatCompletionChunk[] = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (chunk.choices[0].delta.content === ' two') stream.stop();
  }
  assert.equal(chunks.at(-1)?.choices[0].finish_reason, 'cancelled');
  assert.ok((chunks.at(-1)?.usage?.completion_tokens ?? 99) < 8);
  assert.match(textOf(chunks), /^one two/);
});

test('stop() while waiting in the queue ends with an empty answer', async () => {
  const { engine } = await start({ stepMs: 5 });
  const first = engine.chat.completions.create({ messages });
  const second = engine.chat.completions.create({ messages, stream: true });
  await sleep(5);
  second.stop();
  const chunks = await collect(second);
  assert.equal(textOf(chunks), '');
  assert.equal(chunks.at(-1)?.choices[0].finish_reason, 'cancelled');
  assert.equal((await first).choices[0].finish_reason, 'stop');
});

test('a signal rejects at once with `aborted`', async () => {
  const { engine, log } = await start({ stepMs: 5 });
  const controller = new AbortController();
  const { signal } = controller;
  const whole = assert.rejects(engine.chat.completions.create({ messages, signal }), code('aborted'));
  const streamed = assert.rejects(
    collect(engine.chat.completions.create({ messages, stream: true, signal })),
    code('aborted'),
  );
  await sleep(20);
  controller.abort();
  await Promise.all([whole, streamed]);
  assert.equal(log.filter((entry) => entry.startsWith('chat')).length, 1, 'the queued one never started');
  await assert.rejects(engine.complete({ prompt: '', signal }), code('aborted'));
  await assert.rejects(collect(engine.complete({ prompt: '', signal, stream: true })), code('aborted'));
  assert.equal((await engine.complete({ prompt: 'x' })).choices[0].text, WORDS, 'the engine goes on');
});

test('a cancel arrives between steps that never wait', async () => {
  const { engine } = await start({ answer: 'word '.repeat(200_000) });
  const stream = engine.chat.completions.create({ messages, stream: true });
  const started = performance.now();
  let count = 0;
  let last: ChatCompletionChunk | undefined;
  for await (const chunk of stream) {
    count += 1;
    last = chunk;
    if (count === 3) stream.stop();
  }
  assert.equal(last?.choices[0].finish_reason, 'cancelled');
  assert.ok(performance.now() - started < 1000);
});

test('requests are answered in order, short calls in between', async () => {
  const { engine, log } = await start({ stepMs: 3 });
  const order: string[] = [];
  const ask = async (name: string): Promise<void> => {
    await engine.chat.completions.create({ messages: [{ role: 'user', content: name }] });
    order.push(name);
  };
  const asked = [ask('first'), ask('second'), ask('third')];
  const logits = engine.logits([1, 5]).then((scores) => {
    order.push('logits');
    return scores;
  });
  await engine.tokenize('abc').then(() => order.push('tokenize'));
  await Promise.all(asked);
  assert.equal((await logits)[5], 1);
  assert.deepEqual(order, ['tokenize', 'first', 'second', 'third', 'logits']);
  const started = log
    .filter((entry) => entry.startsWith('chat'))
    .map((entry) => /first|second|third/.exec(entry)?.[0]);
  assert.deepEqual(started, ['first', 'second', 'third']);
});

test('tokenizes, detokenizes and renders templates', async () => {
  const { engine } = await start();
  const tokens = await engine.tokenize('héllo');
  assert.ok(tokens instanceof Uint32Array);
  assert.equal(await engine.detokenize(tokens), 'héllo');
  assert.equal(await engine.detokenize([104, 105]), 'hi');
  assert.equal(await engine.renderTemplate('t', { a: 1 }), 't|{"a":1}');
});

test('errors of a generation come with their code, after the text so far', async () => {
  const { engine } = await start({ failAtStep: { step: 3, error: coreError('context_full', 'too long') } });
  const got: string[] = [];
  await assert.rejects(
    async () => {
      for await (const chunk of engine.chat.completions.create({ messages, stream: true })) {
        got.push(chunk.choices[0].delta.content ?? '');
      }
    },
    code('context_full', /too long/),
  );
  assert.equal(got.join(''), 'one two');
  await assert.rejects(engine.chat.completions.create({ messages: [] }), code('invalid_request'));
  await assert.rejects(
    engine.complete({ prompt: 'x', logit_bias: { a: (() => 1) as unknown as number } }),
    code('invalid_request', /cannot be sent/),
  );
});

test('after a trap everything fails with `worker_failed`', async () => {
  const error = new WebAssembly.RuntimeError('unreachable');
  const { engine, log } = await start({ failAtStep: { step: 1, error } });
  await assert.rejects(engine.complete({ prompt: 'x' }), code('worker_failed'));
  await assert.rejects(engine.tokenize('x'), code('worker_failed'));
  await engine.dispose();
  assert.ok(!log.includes('free engine'));
});

test('a buffer that the browser has no room for is `out_of_memory`', async () => {
  for (const words of ['Out of memory', 'Array buffer allocation failed']) {
    const error = new RangeError(words);
    const { engine } = await start({ failAtStep: { step: 1, error } });
    await assert.rejects(engine.complete({ prompt: 'x' }), code('out_of_memory'));
    await engine.dispose();
  }
});

test('a crash of the worker rejects everything pending', async () => {
  const { engine, worker } = await start({ stepMs: 5 });
  const whole = engine.chat.completions.create({ messages });
  const streamed = collect(engine.chat.completions.create({ messages, stream: true }));
  worker.crash('out of memory');
  await assert.rejects(whole, code('worker_failed', /crashed: out of memory/));
  await assert.rejects(streamed, code('worker_failed'));
  await assert.rejects(engine.tokenize('x'), code('worker_failed'));
  assert.ok(worker.terminated);
});

test('dispose rejects what is pending, frees, and ends the worker', async () => {
  const { engine, worker, log } = await start({ stepMs: 5 });
  const whole = assert.rejects(engine.chat.completions.create({ messages }), code('disposed'));
  const streamed = assert.rejects(
    collect(engine.chat.completions.create({ messages, stream: true })),
    code('disposed'),
  );
  await sleep(15);
  await Promise.all([engine.dispose(), engine.dispose(), whole, streamed]);
  assert.ok(worker.terminated);
  assert.deepEqual(log.slice(-3), ['cancel generation', 'free generation', 'free engine']);
  await assert.rejects(engine.tokenize('x'), code('disposed'));
  await assert.rejects(collect(engine.complete({ prompt: 'x', stream: true })), code('disposed'));
});

test('load can be aborted, before and while it runs', async () => {
  const controller = new AbortController();
  const worker = fakeWorker({ loadMs: 2000 });
  const loading = Engine.load(modelBytes(), { worker, signal: controller.signal });
  await sleep(50);
  controller.abort();
  await assert.rejects(loading, code('aborted'));
  assert.ok(worker.terminated);
  await assert.rejects(
    Engine.load(modelBytes(), { worker: fakeWorker(), signal: controller.signal }),
    code('aborted'),
  );
});

test('errors of loading come with their code and end the worker', async () => {
  const worker = fakeWorker({
    failLoad: coreError('unsupported_type', 'tensor type `IQ1_S` is not supported'),
  });
  await assert.rejects(Engine.load(modelBytes(), { worker }), code('unsupported_type', /IQ1_S/));
  assert.ok(worker.terminated);
  const broken = new Uint8Array([1, 2, 3, 4, 5]);
  await assert.rejects(Engine.load(broken, { worker: fakeWorker() }), code('invalid_gguf'));
  await assert.rejects(Engine.load([], { worker: fakeWorker() }), code('invalid_request'));
  await assert.rejects(Engine.load('no/base.gguf', { worker: fakeWorker() }), code('invalid_request'));
});

test('takes Blobs, buffers and lists; a second engine on one worker is `busy`', async () => {
  const worker = fakeWorker();
  const engine = await Engine.load([new Blob([modelBytes(10)]), modelBytes(20).buffer], { worker });
  assert.equal(engine.info.fileSize, 30);
  await assert.rejects(Engine.load(modelBytes(), { worker }), code('busy'));
  assert.deepEqual(await engine.tokenize('a'), new Uint32Array([97]));
  await engine.dispose();
});

test('what a callback throws disturbs nothing', async () => {
  const uncaught: unknown[] = [];
  const listener = (error: unknown): void => void uncaught.push(error);
  const previous = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException').on('uncaughtException', listener);
  try {
    const { engine } = await start();
    const answer = await engine.complete({
      prompt: 'x',
      onPrefill: () => {
        throw new Error('mine');
      },
    });
    assert.equal(answer.choices[0].text, WORDS);
    assert.deepEqual(uncaught.map(String), ['Error: mine']);
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const each of previous) process.on('uncaughtException', each);
  }
});

test('without Worker or with a failing factory the error says so', async () => {
  await assert.rejects(Engine.load(modelBytes()), code('unsupported_browser'));
  const factory = (): never => {
    throw new Error('no workers today');
  };
  await assert.rejects(Engine.load(modelBytes(), { worker: factory }), code('worker_failed', /today/));
});
