// Models of every kind through the built package in a real browser, and files that cannot run.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { answers, here, inPage, options, origin, root } from './page.js';
import type { Package } from './page.js';

const FIXTURES = '/tests/fixtures/models/';

test('embeds, ranks and answers with an encoder', options, async () => {
  const expected = JSON.parse(await readFile(`${root}${FIXTURES}bert.expected.json`, 'utf8')) as {
    sequences: { tokens: number[]; mean: number[] }[];
  };
  const [sequence] = expected.sequences.slice(1);
  const result = await inPage(
    '/strict',
    async ({ folder, tokens }) => {
      const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
      const refused = (error: unknown): string => {
        const { code, message } = error as { code: string; message: string };
        return `${code}: ${message}`;
      };
      const bert = await Engine.load(`${folder}bert.gguf`, { backend: 'cpu' });
      const embeddings = await bert.embeddings.create({ input: [tokens, tokens.slice(0, 3)] });
      const short = await bert.embeddings.create({
        input: 'a hill',
        dimensions: 8,
        encoding_format: 'base64',
      });
      const chat = await bert.complete({ prompt: 'x' }).catch(refused);
      const long = await bert.embeddings.create({ input: 'hill '.repeat(900) }).catch(refused);
      await bert.dispose();
      const ranker = await Engine.load(`${folder}bert-rank.gguf`, { backend: 'cpu' });
      const documents = ['in the hills', 'a loaf of bread', 'the sea'];
      const ranked = await ranker.rerank({ query: 'where does the river rise', documents });
      await ranker.dispose();
      const t5 = await Engine.load(`${folder}t5.gguf`, { backend: 'cpu' });
      const ask = { prompt: 'translate: a hill', max_tokens: 5, temperature: 0, ignore_eos: true };
      const translated = await t5.complete(ask);
      const again = await t5.complete(ask);
      await t5.dispose();
      return {
        kinds: [bert.info.kind, ranker.info.kind, t5.info.kind],
        ...{ embeddings, short, chat, long, ranked, translated, again },
      };
    },
    { folder: FIXTURES, tokens: sequence?.tokens ?? [] },
  );
  assert.deepEqual(result.kinds, ['embedding', 'rerank', 'text']);
  const [first, second] = result.embeddings.data.map(({ embedding }) => embedding);
  const cosine = (a: number[] = [], b: number[] = []): number => {
    const dot = (x: number[], y: number[]): number => x.reduce((sum, v, i) => sum + v * (y[i] ?? 0), 0);
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  };
  assert.ok(cosine(first, sequence?.mean) > 0.9999);
  assert.ok(cosine(first, second) < 0.99);
  assert.equal(Buffer.from(result.short.data[0]?.embedding ?? '', 'base64').length, 32);
  assert.match(String(result.chat), /^invalid_request: .*engine\.embeddings\.create/);
  assert.match(String(result.long), /^context_full: .*truncate/);
  const scores = result.ranked.results.map(({ relevance_score }) => relevance_score);
  assert.equal(scores.length, 3);
  assert.ok(scores.every((score, i) => score > 0 && score < 1 && score <= (scores[i - 1] ?? 1)));
  assert.equal(result.translated.usage.completion_tokens, 5);
  assert.equal(result.translated.choices[0].text, result.again.choices[0].text);
});

/** Sends a file and then goes on for a gigabyte, slowly; counts what it sent. */
function endless(file: Uint8Array): { answer: (response: ServerResponse) => void; sent: () => number } {
  let sent = 0;
  const chunk = new Uint8Array(1 << 18);
  return {
    sent: () => sent,
    answer: (response) => {
      response.setHeader('content-length', 1 << 30);
      response.write(file);
      const timer = setInterval(() => {
        if (sent < 1 << 26 && response.write(chunk)) sent += chunk.length;
      }, 5);
      response.on('close', () => clearInterval(timer));
    },
  };
}

/** The file with the bytes `skip` places behind `after` replaced. */
function changed(file: Buffer, after: string, skip: number, by: string | number[]): Buffer {
  const bytes = Buffer.from(file);
  bytes.set(typeof by === 'string' ? Buffer.from(by) : by, bytes.indexOf(after) + after.length + skip);
  return bytes;
}

test('what cannot run stops its download early and says what would run', options, async () => {
  const good = await readFile(`${root}${FIXTURES}llama-gqa.gguf`);
  const cases: [string, Buffer, RegExp][] = [
    [
      'architecture',
      changed(good, 'general.architecture', 12, 'llamb'),
      /^unsupported_architecture: .*`llamb`.*qwen3/,
    ],
    ['type', changed(good, 'blk.0.attn_q.weight', 20, [99]), /^unsupported_type: .*99.*Q4_K/],
    ['tensor', changed(good, 'blk.0.attn_', 0, 'x'), /^bad_tensor: .*blk\.0\.attn_xorm.*llama/],
    ['pre', changed(good, 'tokenizer.ggml.pre', 12, 'smoll9'), /^unsupported_tokenizer: .*smoll9.*llama-bpe/],
  ];
  for (const [name, file, pattern] of cases) {
    const { answer, sent } = endless(file);
    answers.set(`/odd/${name}.gguf`, answer);
    const error = await inPage(
      '/plain',
      async (url) => {
        const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
        return Engine.load(url).then(
          () => 'loaded',
          (error: { code: string; message: string }) => `${error.code}: ${error.message}`,
        );
      },
      `${origin(here)}/odd/${name}.gguf`,
    );
    assert.match(error, pattern);
    assert.ok(sent() < 1 << 26, `${name}: ${sent()} bytes of weights were fetched`);
  }
});
