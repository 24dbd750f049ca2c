// Devices that grant little memory, as phones do: threads in less of it, no threads, or an error that says so.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { after, test } from 'node:test';
import { answers, inPage, options, root } from './page.js';
import type { Package } from './page.js';

const MODEL = '/models/inkling-9m-chat-Q8_0.gguf';
const STUB = '/stub.js';
const WORKER = '/stubbed-worker.js';
after(() => [STUB, WORKER].forEach((path) => answers.delete(path)));

const { builds } = options.skip
  ? { builds: {} }
  : ((await import(`${root}pkg/dist/builds.js`)) as { builds: object });
const threaded = Object.keys(builds).some((name) => name.endsWith('_threads'));
const needed = options.skip || threaded ? options : { skip: 'needs a build for threads' };

const greedy = JSON.parse(await readFile(`${root}models/inkling-9m-chat-Q8_0.greedy.json`, 'utf8')) as {
  cases: { user: string; text: string }[];
};
const [known] = greedy.cases;

const script = (text: string) => (response: ServerResponse) =>
  void response.writeHead(200, { 'content-type': 'text/javascript' }).end(text);

/** Loads a model in a worker where `limit` is run on what memory is asked for; gives what came of it. */
function loadWith(limit: string): Promise<{ code?: string; threads?: number; text?: string | null }> {
  const stub = `
    const { Memory } = WebAssembly;
    WebAssembly.Memory = function (descriptor) { ${limit}; return new Memory(descriptor); };
    WebAssembly.Memory.prototype = Memory.prototype;`;
  answers.set(STUB, script(stub));
  answers.set(WORKER, script(`import '${STUB}'; import '/pkg/dist/worker.js';`));
  return inPage(
    '/isolated',
    async ({ model, content, address }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const worker = () => new Worker(address, { type: 'module' });
      try {
        const engine = await Engine.load(model, { threads: 2, worker });
        const messages = [{ role: 'user' as const, content }];
        const answer = await engine.chat.completions.create({ messages, temperature: 0 });
        await engine.dispose();
        return { threads: engine.info.threads, text: answer.choices[0].message.content };
      } catch (error) {
        return { code: (error as { code: string }).code };
      }
    },
    { model: MODEL, content: known?.user ?? '', address: WORKER },
  );
}

test('threads run in a quarter of the memory', needed, async () => {
  const refuse = 'if (descriptor.maximum > 16384) throw new RangeError("Out of memory")';
  assert.deepEqual(await loadWith(refuse), { threads: 2, text: known?.text });
});

test('one thread runs where no memory can be shared', needed, async () => {
  const refuse = 'if (descriptor.shared) throw new RangeError("Out of memory")';
  assert.deepEqual(await loadWith(refuse), { threads: 1, text: known?.text });
});

test('a model that outgrows its memory is an error with a code', needed, async () => {
  assert.deepEqual(await loadWith('descriptor.maximum = 160'), { code: 'out_of_memory' });
});
