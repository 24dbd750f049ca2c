// Pages of a real Chromium for tests of the built package, and a server for them.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, extname, join } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';

export type Package = typeof import('../src/index.js');

/** The repository. */
export const root = fileURLToPath(new URL('../../../', import.meta.url));

function findChromium(): string | undefined {
  if (process.env['CHROMIUM']) return process.env['CHROMIUM'];
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
}

const executablePath = findChromium();
const missing = [
  !existsSync(`${root}pkg/dist/inkling.js`) && 'a build',
  !executablePath && 'Chromium',
].filter(Boolean);
/** Skips a test where there is nothing to run it in. */
export const options = missing.length > 0 ? { skip: `needs ${missing.join(' and ')}` } : {};

const TYPES: Record<string, string> = {
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
  '.html': 'text/html',
};
const STRICT_CSP =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";

/** Paths that are answered by a test itself. */
export const answers = new Map<string, (response: ServerResponse, request: IncomingMessage) => void>();

/** Serves the repository, and empty pages: `/strict` has a Content-Security-Policy, `/isolated` may use threads. */
function serve(): Promise<Server> {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? '', 'http://x').pathname);
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('cross-origin-embedder-policy', 'require-corp');
    response.setHeader('cross-origin-resource-policy', 'cross-origin');
    if (['/plain', '/strict', '/isolated'].includes(path)) {
      if (path === '/isolated') response.setHeader('cross-origin-opener-policy', 'same-origin');
      if (path === '/strict') response.setHeader('content-security-policy', STRICT_CSP);
      response.setHeader('content-type', 'text/html').end('<!doctype html><title>Test</title>');
      return;
    }
    const answer = answers.get(path);
    if (answer) return answer(response, request);
    if (path === '/favicon.ico') return void response.writeHead(204).end();
    const type = TYPES[extname(path)] ?? 'application/octet-stream';
    readFile(root + path).then(
      (bytes) => response.writeHead(200, { 'content-type': type, 'content-length': bytes.length }).end(bytes),
      () => response.writeHead(404).end(),
    );
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

export const origin = (server: Server): string =>
  `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

/** The page's own server, and another origin. */
export let here: Server;
export let elsewhere: Server;
let browser: Browser | undefined;

before(async () => {
  [here, elsewhere] = await Promise.all([serve(), serve()]);
  if (missing.length > 0 || !executablePath) return;
  process.env['CHROMIUM'] = executablePath;
  const { launch } = (await import(`${root}xtask/browser/chromium.mjs`)) as { launch(): Promise<Browser> };
  browser = await launch();
});
after(async () => {
  await browser?.close();
  here.close();
  elsewhere.close();
});

/** Opens a page, runs `body` in it, and fails on anything the console complains about that is not `expected`. */
export async function inPage<A, T>(
  path: string,
  body: (argument: A) => Promise<T>,
  argument: A,
  expected = /^$/,
): Promise<T> {
  const page = (await browser?.newPage()) as Page;
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  try {
    await page.goto(origin(here) + path);
    const result = await page.evaluate(body as (argument: unknown) => Promise<T>, argument);
    assert.deepEqual(
      complaints.filter((complaint) => !expected.test(complaint)),
      [],
    );
    return result;
  } finally {
    await page.close();
  }
}
