// Helpers of the thread pool that do not start: the engine runs with those that do.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import { answers, inPage, options, root } from './page.js';
import type { Package } from './page.js';

const MODEL = '/models/inkling-9m-chat-Q8_0.gguf';
/** What helpers run too. */
const WORKER = '/pkg/dist/worker.js';
const greedy = JSON.parse(await readFile(`${root}models/inkling-9m-chat-Q8_0.greedy.json`, 'utf8')) as {
  cases: { user: string; text: string }[];
};
const [known] = greedy.cases;

/** Answers with a script. */
const script = (text: string) => (response: ServerResponse) =>
  void response.writeHead(200, { 'content-type': 'text/javascript' }).end(text);

const notFound = (response: ServerResponse) => void response.writeHead(404).end();

const good = async () => script(await readFile(`${root}${WORKER}`, 'utf8'));

/** Loads a model on three threads, of which helpers get `first`, `second`; gives the threads that came of it. */
async function threadsWith(
  first: (response: ServerResponse) => void,
  second: (response: ServerResponse) => void,
): Promise<{ threads: number; seconds: number }> {
  const queue = [await good(), first, second];
  answers.set(WORKER, (response) => (queue.shift() ?? notFound)(response));
  const result = await inPage(
    '/isolated',
    async ({ model, content }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const start = performance.now();
      const engine = await Engine.load(model, { threads: 3 });
      const seconds = (performance.now() - start) / 1000;
      const messages = [{ role: 'user' as const, content }];
      const answer = await engine.chat.completions.create({ messages, temperature: 0 });
      await engine.dispose();
      return { threads: engine.info.threads, seconds, text: answer.choices[0].message.content };
    },
    { model: MODEL, content: known?.user ?? '' },
    /Failed to load resource/,
  );
  assert.equal(result.text, known?.text);
  return result;
}

after(() => answers.delete(WORKER));

const { builds } = options.skip
  ? { builds: {} }
  : ((await import(`${root}pkg/dist/builds.js`)) as { builds: object });
const threaded = Object.keys(builds).some((name) => name.endsWith('_threads'));
const needed = options.skip || threaded ? options : { skip: 'needs a build for threads' };

test('a helper that is not found leaves one thread', needed, async () => {
  assert.equal((await threadsWith(notFound, notFound)).threads, 1);
});

test('a helper that throws costs its own thread only', needed, async () => {
  const { threads, seconds } = await threadsWith(script('throw new Error("no helper");'), await good());
  assert.equal(threads, 2);
  assert.ok(seconds < 5, `waited ${seconds} s for it`);
});

test('a helper that cannot start the module says so', needed, async () => {
  const broken = script(`
    import { help } from './pool-helper.js';
    addEventListener('message', ({ data }) => (data.memory = 1));
    help();
  `);
  const { threads, seconds } = await threadsWith(broken, await good());
  assert.equal(threads, 2);
  assert.ok(seconds < 5, `waited ${seconds} s for it`);
});

test('a helper that says nothing is not waited for', needed, async () => {
  const { threads, seconds } = await threadsWith(script(''), script(''));
  assert.equal(threads, 1);
  assert.ok(seconds > 4 && seconds < 30, `${seconds} s`);
});
