// A download where Blobs stay in memory: its parts lie in a database until the model is loaded.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import { answers, inPage, options, root } from './page.js';
import type { Package } from './page.js';

const MODEL = '/model-of-unknown-size.gguf';
const STUB = '/webkit.js';
const WORKER = '/webkit-worker.js';
after(() => [MODEL, STUB, WORKER].forEach((path) => answers.delete(path)));

const script = (text: string) => (response: ServerResponse) =>
  void response.writeHead(200, { 'content-type': 'text/javascript' }).end(text);

/** Loads a model in a worker that says it was WebKit, with `more` run in it first; gives what the databases were. */
async function load(more: string): Promise<{ during: string[]; after: string[]; text: string }> {
  const bytes = await readFile(`${root}models/inkling-9m-chat-Q8_0.gguf`);
  answers.set(MODEL, (response) => {
    // In two pieces and without a length: it may be large.
    response.write(bytes.subarray(0, 9e6));
    setTimeout(() => response.end(bytes.subarray(9e6)), 300);
  });
  const stub = `Object.defineProperty(navigator, 'userAgent', { value: 'AppleWebKit/605.1.15' }); ${more}`;
  answers.set(STUB, script(stub));
  answers.set(WORKER, script(`import '${STUB}'; import '/pkg/dist/worker.js';`));
  return inPage(
    '/plain',
    async ({ model, address }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const names = async () =>
        (await indexedDB.databases()).map(({ name }) => name ?? '').filter((name) => name.includes('parts'));
      // What a tab left that was closed in the middle of a load.
      await new Promise((done) => (indexedDB.open('inkling-llm-parts-1').onsuccess = done)).then((event) =>
        ((event as Event).target as IDBOpenDBRequest).result.close(),
      );
      let during: string[] = [];
      const worker = () => new Worker(address, { type: 'module' });
      const watch = setInterval(() => void names().then((now) => (during = now.length ? now : during)), 20);
      const engine = await Engine.load(model, { worker, backend: 'cpu' });
      clearInterval(watch);
      const { choices } = await engine.complete({ prompt: 'Once', max_tokens: 4, temperature: 0 });
      const after = await names();
      await engine.dispose();
      return { during, after, text: choices[0].text };
    },
    { model: MODEL, address: WORKER },
  );
}

test('parts go through a database, which goes when the model is loaded', options, async () => {
  const { during, after, text } = await load('');
  assert.equal(during.length, 1);
  assert.notEqual(during[0], 'inkling-llm-parts-1');
  assert.deepEqual(after, []);
  const refused = await load('IDBObjectStore.prototype.add = () => { throw new Error("full"); }');
  assert.equal(refused.text, text);
  const closed = await load('IDBFactory.prototype.databases = () => Promise.reject(new Error("private"))');
  assert.equal(closed.text, text);
});
