// A GPU that goes away, through the built package in a real browser: a pause, and no more.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { onGpu } from './gpu-page.js';
import { answers, here, options, origin, root } from './page.js';
import type { Package } from './page.js';

type Synthetic = {
  llama(shape: Record<string, number>, withWeights?: boolean): { blob: Blob; fileBytes: number };
};

const MODEL = '/models/inkling-9m-chat-Q8_0.gguf';
const greedy = JSON.parse(await readFile(`${root}models/inkling-9m-chat-Q8_0.greedy.json`, 'utf8')) as {
  cases: { user: string; text: string }[];
};
type Case = (typeof greedy.cases)[0];
/** The third answer is a long one: a GPU cannot be at its end already when it is lost. */
const [first, second, story] = greedy.cases as [Case, Case, Case];

/** What the worker's hooks have counted. */
interface Counts {
  devices: number;
  /** Bytes of the wasm memory. */
  heap: number;
  /** Bytes of buffers that were made and not destroyed. */
  held: number;
  createComputePipeline?: number;
  createComputePipelineAsync: number;
}

/** When the device is taken away. */
type Blow = 'weights' | 'check' | 'prefill' | 'text';

/** Loads a model on the GPU and asks it, while its devices are lost at these points, one after the other. */
async function enduring({ model, questions, blows }: { model: string; questions: string[]; blows: Blow[] }) {
  const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
  const channel = new BroadcastChannel('gpu');
  const due = [...blows];
  const strike = (now: string): void => {
    if (due[0] !== now) return;
    due.shift();
    channel.postMessage('lose');
  };
  let read = Infinity;
  const news: string[] = [];
  const texts: string[] = [];
  const engine = await Engine.load(model, {
    backend: 'gpu',
    contextLength: 256,
    worker: new Worker('/gpu-worker.js', { type: 'module' }),
    onProgress: ({ phase, loaded }) => {
      // Bytes go back where another device begins: one that is lost already must not be struck again.
      const begins = phase !== 'weights' || loaded <= read;
      if (phase === 'weights') read = loaded;
      if (begins) strike(phase);
    },
    onInfo: ({ backend, gpu }) => news.push(`${backend}: ${gpu?.reason ?? 'as before'}`),
  }).catch((error: { code: string }) => error.code);
  if (typeof engine === 'string') return { failed: engine, news, texts };
  const loaded = engine.info;
  for (const content of questions) {
    let pieces = 0;
    let text = '';
    const stream = engine.chat.completions.create({
      messages: [{ role: 'user', content }],
      temperature: 0,
      stream: true,
      onPrefill: () => strike('prefill'),
    });
    for await (const chunk of stream) {
      text += chunk.choices[0].delta.content ?? '';
      pieces += 1;
      if (pieces === 4) strike('text');
    }
    texts.push(text);
  }
  const last = engine.info;
  const counts = await new Promise<Counts>((resolve) => {
    channel.onmessage = ({ data }) => resolve(data as Counts);
    channel.postMessage('ask');
  });
  await engine.dispose();
  channel.close();
  return { failed: '', news, texts, loaded, last, counts };
}

test(
  'a lost GPU is replaced while a model loads and while it answers, then the CPU goes on',
  options,
  async () => {
    const questions = [first.user, second.user];
    const blows: Blow[] = ['check', 'prefill', 'text'];
    const { texts, news, loaded, last, counts } = await onGpu(enduring, { model: MODEL, questions, blows });
    assert.deepEqual(texts, [first.text, second.text]);
    assert.ok(loaded?.backend.startsWith('webgpu') && loaded.gpu?.checked);
    assert.equal(news.length, 2);
    assert.match(news[0] ?? '', /^webgpu.*: as before$/);
    assert.match(news[1] ?? '', /^cpu.*: .*lost again within a minute/);
    assert.ok(last?.backend.startsWith('cpu'));
    assert.match(last?.gpu?.reason ?? '', /lost/);
    // Each device compiled what it had to while it was loaded, and nothing when it was first used.
    const each = (counts?.createComputePipelineAsync ?? 0) / 3;
    assert.ok(counts?.devices === 3 && Number.isInteger(each) && each > 10 && each < 25, `${each} pipelines`);
    assert.equal(counts.createComputePipeline ?? 0, 0);
  },
);

/** Answers with the first part of the model, and with the rest when the page asks for `/go`. */
const held = await readFile(`${root}${MODEL.slice(1)}`);
let release = (): void => undefined;
answers.set('/held.gguf', (response) => {
  response.setHeader('content-length', held.length);
  response.write(held.subarray(0, held.length / 2));
  release = () => response.end(held.subarray(held.length / 2));
});
answers.set('/go', (response) => {
  release();
  response.end();
});

for (const name of ['', 'refusing']) {
  const title = 'the GPU compiles while the model is downloaded';
  test(name ? `${title}, and what it refuses is compiled anew` : title, options, async () => {
    const { ahead, after, loaded, cancelled } = await onGpu(async (name) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const channel = new BroadcastChannel('gpu');
      // A worker that is not there yet hears nothing.
      const ask = (): Promise<Counts> =>
        new Promise((resolve) => {
          const again = setInterval(() => channel.postMessage('ask'), 100);
          channel.onmessage = ({ data }) => {
            clearInterval(again);
            resolve(data as Counts);
          };
        });
      const started = async (): Promise<Counts> => {
        for (;;) {
          const counts = await ask();
          await new Promise((resolve) => setTimeout(resolve, 200));
          const later = await ask();
          if (
            counts.createComputePipelineAsync &&
            counts.createComputePipelineAsync === later.createComputePipelineAsync
          )
            return counts;
        }
      };
      const load = (signal?: AbortSignal): Promise<Awaited<ReturnType<typeof Engine.load>>> =>
        Engine.load('/held.gguf', {
          backend: 'gpu',
          contextLength: 256,
          worker: new Worker('/gpu-worker.js', { type: 'module', name }),
          signal,
        });
      const controller = new AbortController();
      const given = load(controller.signal).catch((error: { code: string }) => error.code);
      await started();
      controller.abort();
      const cancelled = await given;
      const loading = load();
      const ahead = await started();
      await fetch('/go');
      const engine = await loading;
      const after = await ask();
      const { backend, gpu } = engine.info;
      await engine.dispose();
      channel.close();
      return {
        ahead: ahead.createComputePipelineAsync,
        after: after.createComputePipelineAsync,
        loaded: { backend, quarantined: gpu?.quarantined },
        cancelled: typeof cancelled === 'string' ? cancelled : 'loaded',
      };
    }, name);
    assert.equal(cancelled, 'aborted');
    assert.ok(
      ahead > 10 && ahead < 25 && after === ahead + (name ? 1 : 0),
      `${ahead} before, ${after} after the download`,
    );
    assert.ok(
      loaded.backend.startsWith('webgpu') && loaded.quarantined?.length === 0,
      JSON.stringify(loaded),
    );
  });
}

test(
  'the replacement of a lost GPU is told and can be stopped; the next question takes it up',
  options,
  async () => {
    const { texts, ends, told, backend } = await onGpu(
      async ({ model, question }) => {
        const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
        const channel = new BroadcastChannel('gpu');
        const told: string[][] = [];
        let stop = (): void => undefined;
        const engine = await Engine.load(model, {
          backend: 'gpu',
          contextLength: 256,
          worker: new Worker('/gpu-worker.js', { type: 'module' }),
          onRecovery: (progress) => {
            told.at(-1)?.push(progress ? `${progress.phase} ${progress.loaded}/${progress.total}` : 'over');
            stop();
          },
        });
        const texts: string[] = [];
        const ends: (string | null)[] = [];
        for (const _ of ['lost and stopped', 'taken up']) {
          told.push([]);
          const messages = [{ role: 'user' as const, content: question }];
          const stream = engine.chat.completions.create({ messages, temperature: 0, stream: true });
          let text = '';
          let end: string | null = null;
          stop = texts.length === 0 ? () => stream.stop() : () => undefined;
          for await (const chunk of stream) {
            if (text === '' && texts.length === 0) channel.postMessage('lose');
            text += chunk.choices[0].delta.content ?? '';
            end = chunk.choices[0].finish_reason;
          }
          texts.push(text);
          ends.push(end);
        }
        const { backend } = engine.info;
        await engine.dispose();
        channel.close();
        return { texts, ends, told, backend };
      },
      { model: MODEL, question: story.user },
    );
    assert.ok(story.text.startsWith(texts[0] ?? '') && texts[0] !== story.text, texts[0]);
    assert.equal(texts[1], story.text);
    assert.deepEqual(ends, ['cancelled', 'stop']);
    assert.equal(told[0]?.[0], 'weights 0/0');
    assert.equal(told[0]?.at(-1), 'over');
    assert.ok(!told[0]?.some((line) => line.startsWith('compile')), told[0]?.join());
    assert.match(told[1]?.join() ?? '', /^weights 0\/0,.*weights (\d+)\/\1,.*compile.*,over$/);
    assert.ok(backend.startsWith('webgpu'));
  },
);

test(
  'a GPU that is lost twice while a model loads is an error where nothing else may compute',
  options,
  async () => {
    const blows: Blow[] = ['weights', 'weights'];
    const { failed } = await onGpu(enduring, { model: MODEL, questions: [], blows });
    assert.equal(failed, 'gpu_lost');
  },
);

test('the weights of a model pass through little memory', options, async () => {
  const result = await onGpu(async (synthetic) => {
    const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
    const { llama } = (await import(synthetic)) as Synthetic;
    const shape = { layers: 18, width: 1024, ffn: 3072, heads: 16, kvHeads: 4, headDim: 64 };
    const { blob, fileBytes } = llama({ ...shape, contextLength: 1024 });
    const checked: string[] = [];
    const engine = await Engine.load(blob, {
      backend: 'gpu',
      worker: new Worker('/gpu-worker.js', { type: 'module' }),
      onProgress: ({ phase, loaded, total }) => {
        if (phase === 'check') checked.push(`${loaded}/${total}`);
      },
    });
    const channel = new BroadcastChannel('gpu');
    const counts = await new Promise<Counts>((resolve) => {
      channel.onmessage = ({ data }) => resolve(data as Counts);
      channel.postMessage('ask');
    });
    const { info } = engine;
    await engine.dispose();
    channel.close();
    return { counts, info, fileBytes, checked };
  }, '/xtask/browser/synthetic.js');
  assert.ok(result.fileBytes > 100e6, `${result.fileBytes} bytes`);
  assert.ok(result.counts.heap > 0 && result.counts.heap < 64 << 20, `${result.counts.heap} bytes of heap`);
  assert.ok((result.info.gpu?.memoryBytes ?? 0) > result.info.memoryBytes);
  assert.match(result.checked.join(), /^0\/(\d+),.*,\1\/\1$/);
});

test('what the GPU cannot hold is told before its weights are fetched', options, async () => {
  const { llama } = (await import(`${root}xtask/browser/synthetic.js`)) as Synthetic;
  const heads = { heads: 64, kvHeads: 8, headDim: 128, contextLength: 8192 };
  const shapes = {
    '/large.gguf': { layers: 80, width: 8192, ffn: 28_672, ...heads },
    // Each matrix has more elements than 32 bits count, and more bytes.
    '/wide.gguf': { layers: 2, width: 8192, ffn: 1 << 20, ...heads },
  };
  let sent = 0;
  for (const [path, shape] of Object.entries(shapes)) {
    const { blob, fileBytes } = llama(shape, false);
    const header = new Uint8Array(await blob.arrayBuffer());
    answers.set(path, (response) => {
      response.setHeader('content-length', fileBytes);
      response.write(header);
      const chunk = new Uint8Array(1 << 18);
      const timer = setInterval(() => {
        if (sent < 1 << 28 && response.write(chunk)) sent += chunk.length;
      }, 5);
      response.on('close', () => clearInterval(timer));
    });
  }
  const refused = await onGpu(async (server) => {
    const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
    const refusal = (path: string, backend: 'auto' | 'gpu'): Promise<string> =>
      Engine.load(server + path, {
        backend,
        worker: new Worker('/gpu-worker.js', { type: 'module', name: '3e9' }),
      }).then(
        () => 'loaded',
        (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
      );
    return [
      await refusal('/large.gguf', 'gpu'),
      await refusal('/large.gguf', 'auto'),
      await refusal('/wide.gguf', 'gpu'),
    ];
  }, origin(here));
  assert.match(refused[0] ?? '', /^out_of_memory: .*needs 40.\d GB on the GPU.*refused more than \d.\d GB/);
  // The CPU cannot address that much either, and this adapter is none that `auto` takes.
  assert.match(
    refused[1] ?? '',
    /^out_of_memory: .*weights take 38.\d GB, .*CPU can address 4.3 GB.*swiftshader computes on the CPU itself/i,
  );
  assert.match(refused[2] ?? '', /^out_of_memory: .*\(weights 29.\d GB,.*refused more than \d.\d GB/);
  assert.ok(sent < 1 << 28, `${sent} bytes of weights were fetched`);
});

test(
  'what only real GPUs get: a race with the CPU, arithmetic by the clock, a verdict that keeps it',
  options,
  async () => {
    const { reason, verdicts, texts, pipelines, held } = await onGpu(
      async ({ model, question }) => {
        const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
        const channel = new BroadcastChannel('gpu');
        const load = (backend: 'auto' | 'gpu') =>
          Engine.load(model, {
            backend,
            contextLength: 256,
            worker: new Worker('/gpu-worker.js', { type: 'module', name: 'imagined' }),
          });
        const raced = await load('auto');
        const reason = raced.info.gpu?.reason;
        await raced.dispose();
        const [verdicts, texts, pipelines]: [string[], string[], number[]] = [[], [], []];
        const held: number[] = [];
        const ask = () =>
          new Promise<Counts>((resolve) => {
            channel.onmessage = ({ data }) => resolve(data as Counts);
            channel.postMessage('ask');
          });
        for (const _ of ['timed', 'as the verdict says']) {
          const engine = await load('gpu');
          verdicts.push(engine.info.gpu?.verdict ?? '');
          const messages = [{ role: 'user' as const, content: question }];
          const answer = await engine.chat.completions.create({ messages, temperature: 0, max_tokens: 4 });
          texts.push(answer.choices[0].message.content ?? '');
          const counts = await ask();
          for (const _ of ['a session of its own', 'and another']) {
            await engine.logits([1]);
            held.push((await ask()).held);
          }
          pipelines.push(counts.createComputePipelineAsync);
          await engine.dispose();
          // Whatever the clock has chosen, the next load is to take integers.
          await new Promise((resolve, reject) => {
            const opening = indexedDB.open('inkling-llm', 1);
            opening.onsuccess = () => {
              const stores = opening.result.transaction('gpu-verdicts', 'readwrite');
              stores.objectStore('gpu-verdicts').openCursor().onsuccess = ({ target }) => {
                const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
                cursor?.update(String(cursor.value).replace(/"arithmetic":"\w+"/, '"arithmetic":"Int8"'));
                cursor?.continue();
              };
              stores.oncomplete = resolve;
            };
            opening.onerror = reject;
          });
        }
        channel.close();
        return { reason, verdicts, texts, pipelines, held };
      },
      { model: MODEL, question: first.user },
    );
    assert.match(reason ?? '', /imagined takes [\d.]+ ms for what the CPU does in [\d.]+ ms/);
    assert.match(verdicts[0] ?? '', /"about":"imagined \w+".*"arithmetic":"(F32|F16|Int8)"/);
    assert.match(verdicts[1] ?? '', /"arithmetic":"Int8"/);
    for (const text of texts) assert.ok(text.length > 5 && first.text.startsWith(text), text);
    // Those of integers were compiled to be timed; the second time they came with the model.
    assert.ok((pipelines[0] ?? 0) > 10 && (pipelines[1] ?? 0) > 10, pipelines.join());
    // What was made for a text goes with it.
    assert.equal(held[1], held[0]);
    assert.equal(held[3], held[2]);
  },
);
