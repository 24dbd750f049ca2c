// A GPU that goes away, through the built package in a real browser: a pause, and no more.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { onGpu } from './gpu-page.js';
import { options, root } from './page.js';
import type { Package } from './page.js';

const MODEL = '/models/inkling-9m-chat-Q8_0.gguf';
const greedy = JSON.parse(await readFile(`${root}models/inkling-9m-chat-Q8_0.greedy.json`, 'utf8')) as {
  cases: { user: string; text: string }[];
};
const [first, second] = greedy.cases as [(typeof greedy.cases)[0], (typeof greedy.cases)[0]];

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
  const news: string[] = [];
  const texts: string[] = [];
  const engine = await Engine.load(model, {
    backend: 'gpu',
    contextLength: 256,
    worker: new Worker('/gpu-worker.js', { type: 'module' }),
    onProgress: ({ phase }) => strike(phase),
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
  await engine.dispose();
  channel.close();
  return { failed: '', news, texts, loaded, last };
}

test(
  'a lost GPU is replaced while a model loads and while it answers, then the CPU goes on',
  options,
  async () => {
    const questions = [first.user, second.user];
    const blows: Blow[] = ['check', 'text', 'prefill'];
    const { texts, news, loaded, last } = await onGpu(enduring, { model: MODEL, questions, blows });
    assert.deepEqual(texts, [first.text, second.text]);
    assert.ok(loaded?.backend.startsWith('webgpu') && loaded.gpu?.checked);
    assert.equal(news.length, 2);
    assert.match(news[0] ?? '', /^webgpu.*: as before$/);
    assert.match(news[1] ?? '', /^cpu.*: .*lost again within a minute/);
    assert.ok(last?.backend.startsWith('cpu'));
    assert.match(last?.gpu?.reason ?? '', /lost/);
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
