// A split model of more than 4 GB through its address, as a page loads it: three parts, of which nearly all is padding.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { BrowserContext } from 'playwright-core';
import { headerMovedBy } from './moved.js';
import { answers, here, options, origin, root } from './page.js';
import type { Package } from './page.js';

const MIB = 1024 ** 2;
const PADDING = 1450 * MIB;
const name = (part: number): string => `-0000${part}-of-00003.gguf`;

/** Sends bytes `from` to `to` of a file that begins with `head`, has `tail` behind the padding, and is zero between. */
function send(response: ServerResponse, head: Buffer, tail: Buffer, from: number, to: number): void {
  const zeros = Buffer.alloc(MIB);
  const next = (): void => {
    while (from < to) {
      let piece: Buffer = zeros.subarray(0, to - from);
      if (from < head.length) piece = Buffer.concat([head.subarray(from), zeros]).subarray(0, piece.length);
      else if (from < PADDING) piece = piece.subarray(0, PADDING - from);
      else piece = tail.subarray(from - PADDING, to - PADDING);
      from += piece.length;
      if (!response.write(piece)) return void response.once('drain', next);
    }
    response.end();
  };
  next();
}

let sent = 0;
for (const part of [1, 2, 3]) {
  const small = readFileSync(`${root}tests/fixtures/models/container-split${name(part)}`);
  const { header, dataStart } = headerMovedBy(small, PADDING - headerMovedBy(small, 0).dataStart);
  // The tail begins where the data does now.
  const tail = small.subarray(dataStart);
  const size = PADDING + tail.length;
  answers.set(`/split${name(part)}`, (response, request) => {
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const from = Number(range?.[1] ?? 0);
    const to = Math.min(size, Number(range?.[2] || size) + 1);
    if (range) response.setHeader('content-range', `bytes ${from}-${to - 1}/${size}`);
    response.writeHead(range ? 206 : 200, { 'content-length': to - from });
    if (request.method === 'HEAD') return void response.end();
    sent += to - from;
    send(response, header, tail, from, to);
  });
}

const skip =
  options.skip ?? (process.env['INKLING_LARGE'] ? undefined : 'takes 4.6 GB of disk: set INKLING_LARGE');

test('a split model of more than 4 GB is loaded from its address', skip ? { skip } : {}, async () => {
  const { launch } = (await import(`${root}xtask/browser/chromium.mjs`)) as {
    launch(options: { profile: string }): Promise<BrowserContext>;
  };
  // A private window would keep it in memory, or rather not.
  const profile = mkdtempSync(join(tmpdir(), 'inkling-'));
  const browser = await launch({ profile });
  try {
    const load = async (source: string): Promise<{ logits: number[]; total: number }> => {
      const page = await browser.newPage();
      await page.goto(`${origin(here)}/plain`);
      const result = await page.evaluate(answer, source);
      await page.close();
      return result;
    };
    const small = await load(`/tests/fixtures/models/container-split${name(1)}`);
    const large = await load(`/split${name(1)}`);
    assert.ok(large.total > 2 ** 32, `${large.total} bytes`);
    assert.ok(sent >= large.total);
    assert.deepEqual(large.logits, small.logits);
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
  }
});

/** Runs in the page. */
async function answer(source: string): Promise<{ logits: number[]; total: number }> {
  const { Engine } = (await import('/pkg/dist/index.js' as string)) as Package;
  let total = 0;
  const engine = await Engine.load(source, {
    backend: 'cpu',
    contextLength: 64,
    onProgress: (progress) => {
      if (progress.phase === 'download') total = progress.total;
    },
  });
  const logits = await engine.logits([1, 17, 42]);
  await engine.dispose();
  return { logits: [...logits], total };
}
