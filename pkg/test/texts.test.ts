// Embeddings and reranking, from Engine through client and host to a fake wasm module and back.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { Engine } from '../src/engine.js';
import type { EmbeddingParams, RerankParams } from '../src/index.js';
import type { FakeOptions } from './fake-wasm.js';
import { FAKE_INFO } from './fake-wasm.js';
import { code, loadFake, sleep } from './harness.js';

const open: Engine[] = [];
async function start(fake: FakeOptions = {}): Promise<{ engine: Engine; log: string[] }> {
  const log: string[] = [];
  const { engine } = await loadFake({ log: (entry) => log.push(entry), ...fake });
  open.push(engine);
  return { engine, log };
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((engine) => engine.dispose()));
});

test('embeds one text or several, in OpenAI shape', async () => {
  const { engine, log } = await start();
  const progress: string[] = [];
  const one = await engine.embeddings.create({ input: 'abc' });
  assert.deepEqual(one, {
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding: [3, 97, 0.5] }],
    model: FAKE_INFO.name,
    usage: { prompt_tokens: 3, total_tokens: 3 },
  });
  const several = await engine.embeddings.create({
    input: ['a', 'bcd'],
    dimensions: 2,
    onProgress: ({ done, total }) => progress.push(`${done}/${total}`),
  });
  assert.deepEqual(
    several.data.map(({ index, embedding }) => [index, embedding[1]]),
    [
      [0, 97],
      [1, 98],
    ],
  );
  assert.equal(several.usage.total_tokens, 4);
  assert.deepEqual(progress, ['1/2', '2/2']);
  assert.deepEqual(JSON.parse(log.at(-1)?.slice('embed '.length) ?? ''), {
    text: 'bcd',
    dimensions: 2,
    truncate: false,
  });
  await engine.embeddings.create({ input: 'x', pooling: 'cls', normalize: false });
  assert.deepEqual(JSON.parse(log.at(-1)?.slice('embed '.length) ?? ''), {
    text: 'x',
    truncate: false,
    pooling: 'cls',
    raw: true,
  });
});

test('takes token ids, and gives base64 of little-endian floats', async () => {
  const { engine, log } = await start();
  await engine.embeddings.create({ input: [5, 6] });
  await engine.embeddings.create({ input: [[5], new Uint32Array([7, 8])] });
  const sent = log.filter((entry) => entry.startsWith('embed')).map((entry) => /\[.*?\]/.exec(entry)?.[0]);
  assert.deepEqual(sent, ['[5,6]', '[5]', '[7,8]']);
  const { data } = await engine.embeddings.create({ input: 'ab', encoding_format: 'base64' });
  const bytes = Buffer.from(data[0]?.embedding ?? '', 'base64');
  assert.deepEqual([bytes.readFloatLE(0), bytes.readFloatLE(4), bytes.readFloatLE(8)], [2, 97, 0.5]);
});

test('refuses what it cannot read before it asks the worker', async () => {
  const { engine, log } = await start();
  const create = (params: unknown): Promise<unknown> =>
    engine.embeddings.create(params as EmbeddingParams & { encoding_format: null });
  await assert.rejects(create({ input: [] }), code('invalid_request', /empty/));
  await assert.rejects(create({ input: ['a', 3] }), code('invalid_request', /neither/));
  await assert.rejects(create({ input: 'a', encoding_format: 'int8' }), code('invalid_request', /int8/));
  const rerank = (params: unknown): Promise<unknown> => engine.rerank(params as RerankParams);
  await assert.rejects(rerank({ query: 'q', documents: ['a', {}] }), code('invalid_request', /document/));
  await assert.rejects(rerank({ query: 'q', documents: 'a' }), code('invalid_request', /documents/));
  await assert.rejects(rerank({ documents: ['a'] }), code('invalid_request', /query/));
  await assert.rejects(rerank({ query: 'q', documents: ['a'], top_n: 0 }), code('invalid_request', /top_n/));
  assert.deepEqual(
    log.filter((entry) => /^(embed|rank)/.test(entry)),
    [],
  );
});

test('long texts are refused with a code unless they may be cut', async () => {
  const { engine } = await start();
  const input = 'x'.repeat(101);
  await assert.rejects(engine.embeddings.create({ input }), code('context_full'));
  assert.equal((await engine.embeddings.create({ input, truncate: true })).data.length, 1);
});

test('sorts documents by relevance', async () => {
  const { engine } = await start();
  const documents = ['short', { text: 'the longest of them' }, 'middling'];
  const all = await engine.rerank({ query: 'q', documents });
  assert.deepEqual(all, {
    object: 'list',
    results: [
      { index: 1, relevance_score: 0.19 },
      { index: 2, relevance_score: 0.08 },
      { index: 0, relevance_score: 0.05 },
    ],
    model: FAKE_INFO.name,
    usage: { prompt_tokens: 35, total_tokens: 35 },
  });
  const best = await engine.rerank({ query: 'q', documents, top_n: 1, return_documents: true });
  assert.deepEqual(best.results, [
    { index: 1, relevance_score: 0.19, document: { text: 'the longest of them' } },
  ]);
  assert.deepEqual((await engine.rerank({ query: 'q', documents: [] })).results, []);
});

test('a signal stops between two texts', async () => {
  const { engine, log } = await start({ stepMs: 5 });
  const controller = new AbortController();
  const { signal } = controller;
  const input = Array.from({ length: 50 }, (_, i) => `text ${i}`);
  const embedding = assert.rejects(engine.embeddings.create({ input, signal }), code('aborted'));
  const ranking = assert.rejects(engine.rerank({ query: 'q', documents: input, signal }), code('aborted'));
  await sleep(40);
  controller.abort();
  await Promise.all([embedding, ranking]);
  await sleep(30);
  const done = log.filter((entry) => entry.startsWith('embed')).length;
  assert.ok(done > 0 && done < 20, String(done));
  assert.equal(log.filter((entry) => entry.startsWith('rank')).length, 0, 'the queued one never started');
  assert.equal((await engine.embeddings.create({ input: 'a' })).data.length, 1, 'the engine goes on');
});
