// The built package with the real wasm module and the embedded model in a real browser.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { answers, elsewhere, inPage, options, origin, root } from './page.js';
import type { Package } from './page.js';

type Download = typeof import('../src/download.js');

const MODEL = '/models/inkling-9m-chat-Q8_0.gguf';
const greedy = JSON.parse(await readFile(`${root}models/inkling-9m-chat-Q8_0.greedy.json`, 'utf8')) as {
  cases: { user: string; prompt_tokens: number[]; greedy_tokens: number[]; text: string }[];
};

test('loads, streams and gives the known answers, under a strict policy', options, async () => {
  const cases = greedy.cases.slice(0, 3);
  const result = await inPage(
    '/strict',
    async ({ cases, model }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const phases = new Set<string>();
      const engine = await Engine.load(model, { onProgress: ({ phase }) => phases.add(phase) });
      const answers = [];
      for (const { user, greedy_tokens } of cases) {
        const stream = engine.chat.completions.create({
          messages: [{ role: 'user', content: user }],
          temperature: 0,
          stream: true,
        });
        let text = '';
        let last;
        let chunks = 0;
        for await (const chunk of stream) {
          text += chunk.choices[0].delta.content ?? '';
          chunks += 1;
          last = chunk;
        }
        const detokenized = await engine.detokenize(greedy_tokens, { skipSpecial: true });
        answers.push({ text, chunks, usage: last?.usage, inkling: last?.inkling, detokenized });
      }
      const info = engine.info;
      await engine.dispose();
      return { phases: [...phases], info, answers };
    },
    { cases, model: MODEL },
  );
  // The header is read while the file is downloaded.
  assert.deepEqual(result.phases, ['download', 'tokenizer', 'weights']);
  assert.equal(result.info.architecture, 'llama');
  assert.equal(result.info.quantization, 'Q8_0');
  result.answers.forEach((answer, index) => {
    const expected = cases[index];
    assert.equal(answer.text, expected?.text);
    assert.equal(answer.detokenized, expected?.text);
    assert.ok(answer.chunks > 5);
    assert.equal(answer.usage?.prompt_tokens, expected?.prompt_tokens.length);
    assert.ok((answer.inkling?.timings.decode_tps ?? 0) > 1);
  });
});

test('tokenizes, scores, completes and renders', options, async () => {
  const [first] = greedy.cases;
  const result = await inPage(
    '/plain',
    async ({ model, prompt }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const bytes = await (await fetch(model)).blob();
      const engine = await Engine.load(bytes, { contextLength: 128 });
      const tokens = await engine.tokenize('Hello!', { addSpecial: false });
      const logits = await engine.logits(prompt);
      const completion = await engine.complete({ prompt, temperature: 0, max_tokens: 4 });
      const same = await engine.complete({ prompt, temperature: 1, seed: 7, max_tokens: 12 });
      const again = await engine.complete({ prompt, temperature: 1, seed: 7, max_tokens: 12 });
      const template = await engine.renderTemplate('{{ a | upper }}', { a: 'x' });
      const out = {
        tokens: [...tokens],
        best: logits.indexOf(Math.max(...logits)),
        text: completion.choices[0].text,
        finish: completion.choices[0].finish_reason,
        seeded: [same.choices[0].text, again.choices[0].text],
        template,
        context: engine.info.contextLength,
        vocab: [engine.info.vocabSize, logits.length],
      };
      await engine.dispose();
      return out;
    },
    { model: MODEL, prompt: first?.prompt_tokens ?? [] },
  );
  assert.deepEqual(result.tokens, [5958, 3]);
  assert.equal(result.best, first?.greedy_tokens[0]);
  assert.equal(result.text, 'Hi! Do you');
  assert.equal(result.finish, 'length');
  assert.equal(result.seeded[0], result.seeded[1]);
  assert.equal(result.template, 'X');
  assert.equal(result.context, 128);
  assert.equal(result.vocab[0], result.vocab[1]);
});

test('stops, aborts and goes on', options, async () => {
  const result = await inPage(
    '/plain',
    async (model) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const engine = await Engine.load(model);
      const messages = [{ role: 'user' as const, content: 'Tell me a short story about a fox.' }];
      const endless = { messages, temperature: 0, ignore_eos: true, max_tokens: 400 };
      const stream = engine.chat.completions.create({ ...endless, stream: true });
      let stoppedAt = 0;
      let last;
      for await (const chunk of stream) {
        last = chunk;
        if (chunk.choices[0].delta.content && !stoppedAt) {
          stoppedAt = performance.now();
          stream.stop();
        }
      }
      const stopMs = performance.now() - stoppedAt;
      const controller = new AbortController();
      setTimeout(() => controller.abort(), 50);
      const aborted = await engine.chat.completions
        .create({ ...endless, signal: controller.signal })
        .catch((error: unknown) => (error as { code: string }).code);
      for await (const chunk of engine.chat.completions.create({ ...endless, stream: true })) {
        if (chunk.choices[0].delta.content) break;
      }
      const whole = await engine.chat.completions.create({
        messages: [{ role: 'user', content: 'Hello!' }],
        temperature: 0,
      });
      await engine.dispose();
      const after = await engine.tokenize('x').catch((error: unknown) => (error as { code: string }).code);
      const finish = last?.choices[0].finish_reason;
      return { stopMs, finish, written: last?.usage?.completion_tokens, aborted, whole, after };
    },
    MODEL,
  );
  assert.equal(result.finish, 'cancelled');
  assert.ok(result.stopMs < 500, `${result.stopMs} ms`);
  assert.ok((result.written ?? 400) < 300);
  assert.equal(result.aborted, 'aborted');
  assert.equal(result.whole.choices[0].message.content, greedy.cases[0]?.text);
  assert.equal(result.after, 'disposed');
});

test('runs on several threads where the page is isolated', options, async () => {
  const { builds } = (await import(`${root}pkg/dist/builds.js`)) as { builds: object };
  const threaded = Object.keys(builds).some((name) => name.endsWith('_threads'));
  const result = await inPage(
    '/isolated',
    async ({ model, content }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const engine = await Engine.load(model, { threads: 2 });
      const messages = [{ role: 'user' as const, content }];
      const answer = await engine.chat.completions.create({ messages, temperature: 0 });
      await engine.dispose();
      return { isolated: crossOriginIsolated, threads: engine.info.threads, answer };
    },
    { model: MODEL, content: greedy.cases[0]?.user ?? '' },
  );
  assert.ok(result.isolated);
  assert.equal(result.threads, threaded ? 2 : 1);
  assert.equal(result.answer.choices[0].message.content, greedy.cases[0]?.text);
});

test('runs on the best build without isolation too, and in a frame without an origin', options, async () => {
  const { builds } = (await import(`${root}pkg/dist/builds.js`)) as { builds: object };
  const relaxed = Object.keys(builds).some((name) => name.startsWith('relaxed'));
  const script = `
    import { Engine } from '/pkg/dist/index.js';
    const load = Engine.load('${MODEL}', { backend: 'cpu' });
    parent.postMessage(await load.then(({ info }) => info.backend + ' ' + info.threads, String), '*');`;
  answers.set('/frame', (response) => {
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(`<!doctype html><script type="module">${script}</script>`);
  });
  const told = await inPage(
    '/plain',
    async (src) => {
      const frame = document.createElement('iframe');
      frame.setAttribute('sandbox', 'allow-scripts');
      frame.src = src;
      const answer = new Promise((resolve) => addEventListener('message', ({ data }) => resolve(data)));
      document.body.append(frame);
      return { isolated: crossOriginIsolated, answer: await answer };
    },
    '/frame',
  );
  assert.deepEqual(told, { isolated: false, answer: relaxed ? 'cpu-relaxed-simd 1' : 'cpu-simd 1' });
});

test(
  'runs from another origin, as from a CDN, with threads where the page is isolated',
  options,
  async () => {
    for (const [page, threads] of [
      ['/plain', 1],
      ['/isolated', 2],
    ] as const) {
      const info = await inPage(
        page,
        async ({ model, cdn }) => {
          const { Engine } = (await import(`${cdn}/pkg/dist/index.js`)) as Package;
          const engine = await Engine.load(model, { threads: 2 });
          await engine.dispose();
          return engine.info;
        },
        { model: MODEL, cdn: origin(elsewhere) },
      );
      assert.equal(info.architecture, 'llama');
      assert.equal(info.threads, threads, page);
    }
  },
);

test('failures have codes and leave the page usable', options, async () => {
  const codes = await inPage(
    '/plain',
    async (model) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const codeOf = (promise: Promise<unknown>): Promise<string> =>
        promise.then(
          () => 'no error',
          (error: unknown) => (error as { code: string }).code,
        );
      const good = new Uint8Array(await (await fetch(model)).arrayBuffer());
      const script = (text: string): Worker =>
        new Worker(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })), { type: 'module' });
      const controller = new AbortController();
      return {
        web: await codeOf(Engine.load('/plain')),
        wasm: await codeOf(Engine.load(model, { wasmUrl: '/plain?' })),
        short: await codeOf(Engine.load(good.subarray(0, good.length >> 1))),
        noise: await codeOf(Engine.load(new Uint8Array(100_000).fill(7))),
        throwing: await codeOf(Engine.load(good, { worker: script('queueMicrotask(() => { throw 1 })') })),
        aborted: await codeOf(
          Engine.load(good, { signal: controller.signal, onProgress: () => controller.abort() }),
        ),
        good: await codeOf(Engine.load(good).then((engine) => engine.dispose())),
      };
    },
    MODEL,
    /application\/wasm|Uncaught 1/,
  );
  assert.deepEqual(codes, {
    web: 'invalid_gguf',
    wasm: 'worker_failed',
    short: 'truncated',
    noise: 'invalid_gguf',
    throwing: 'worker_failed',
    aborted: 'aborted',
    good: 'no error',
  });
});

test('what cannot be meant is refused by name, and the engine goes on', options, async () => {
  const result = await inPage(
    '/plain',
    async (model) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const said = (promise: Promise<unknown>): Promise<string> =>
        promise.then(
          (value) => `no error: ${String(value)}`,
          (error: Error) => `${(error as Error & { code: string }).code}: ${error.message}`,
        );
      const engine = await Engine.load(model);
      const any = engine as unknown as Record<string, (...all: unknown[]) => Promise<unknown>>;
      const chat = (more: object): Promise<unknown> =>
        engine.chat.completions.create({
          messages: [{ role: 'user', content: 'Hello!' }],
          temperature: 0,
          max_tokens: 1,
          ...more,
        } as object as Parameters<typeof engine.chat.completions.create>[0]) as Promise<unknown>;
      const out = [
        await said(chat({ top_k: 1.5 })),
        await said(chat({ top_p: 2 })),
        await said(chat({ messages: 'Hello!' })),
        await said(chat({ messages: [null] })),
        await said(any['tokenize']!(5)),
        await said(any['detokenize']!([-1])),
        await said(any['logits']!('x')),
        await said(any['renderTemplate']!(undefined, {})),
        await said(any['complete']!({ max_tokens: 1 })),
        await said(Engine.load(model, { contextLength: -1 })),
        await said(Engine.load(await (await fetch(model)).blob(), { kvType: 'q4' as 'f16' })),
        // Half an emoji, as cutting a text leaves it.
        await said(chat({ messages: [{ role: 'user', content: 'Hello! \ud83d' }] })),
      ];
      await engine.dispose();
      return out;
    },
    MODEL,
  );
  const expected = [
    /^invalid_request: `top_k` is 1\.5; it is a whole number/,
    /^invalid_request: .*top_p must be between/,
    /^invalid_request: `messages` is not a list/,
    /^invalid_request: The request cannot be read/,
    /^invalid_request: `text` is not a string/,
    /^invalid_request: `tokens` is not a list of token ids/,
    /^invalid_request: `tokens` is not/,
    /^invalid_request: `template` is not a string/,
    /^invalid_request: `prompt` is not a list/,
    /^invalid_request: `contextLength` is -1/,
    /^invalid_request: .*`q4`, expected one of/,
    /^no error/,
  ];
  assert.equal(result.length, expected.length);
  result.forEach((line, index) => assert.match(line, expected[index] as RegExp));
});

test('what was downloaded can be read, beyond the bytes that browsers keep in memory', options, async () => {
  const part = new Uint8Array(4 << 20);
  part.set(new TextEncoder().encode('GGUF'));
  const count = 150;
  answers.set('/large', (response) => {
    response.setHeader('content-length', count * part.length);
    let sent = 0;
    const send = (): void => {
      for (; sent < count; sent += 1) {
        if (!response.write(part)) {
          sent += 1;
          return void response.once('drain', send);
        }
      }
      response.end();
    };
    send();
  });
  const read = await inPage(
    '/plain',
    async (partBytes) => {
      const { download } = (await import('/pkg/dist/download.js' as string)) as Download;
      const { signal } = new AbortController();
      const onBytes = () => undefined;
      const blob = (await download(new URL('/large', location.href).href, { signal, onBytes })) as Blob;
      let read = 0;
      for (let offset = 0; offset < blob.size; offset += partBytes) {
        const text = await blob.slice(offset, offset + 4).text();
        if (text === 'GGUF') read += 1;
      }
      return read;
    },
    part.length,
  );
  assert.equal(read, count);
});
