// Downloads from a server that behaves well, badly, or not at all.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { openSources } from '../src/byte-source.js';
import type { ModelInspector } from '../src/byte-source.js';
import { download } from '../src/download.js';
import type { DownloadContext, Inspector } from '../src/download.js';
import { Engine } from '../src/engine.js';
import { expandShards } from '../src/source.js';
import type { LoadProgress } from '../src/types.js';
import { fakeWasm } from './fake-wasm.js';
import { code, fakeWorker, modelBytes, sleep } from './harness.js';

const FILE = modelBytes(3_000_000).map((byte, index) => (index < 4 ? byte : index % 251));

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
const routes = new Map<string, Handler>();
const requests: { method: string; url: string; range: string | undefined; auth: string | undefined }[] = [];
let server: Server;
let base = '';

before(async () => {
  server = createServer((request, response) => {
    const { method = '', url = '', headers } = request;
    requests.push({ method, url, range: headers.range, auth: headers.authorization });
    const handler = routes.get(url);
    if (handler) handler(request, response);
    else response.writeHead(404, { 'content-type': 'text/html' }).end('<h1>Not found</h1>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

/** Serves `bytes` (with ranges); `breakAfter` ends each answer early by closing the connection. */
function serveFile(
  path: string,
  bytes: Uint8Array,
  { breakAfter = Infinity, ranges = true, etag = (): string => '"1"' } = {},
): void {
  routes.set(path, (request, response) => {
    const start = ranges ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0;
    const body = bytes.subarray(start);
    const headers = { 'content-length': body.length, etag: etag() };
    const partial = { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`, ...headers };
    response.writeHead(start > 0 ? 206 : 200, start > 0 ? partial : headers);
    if (request.method === 'HEAD') response.end();
    else if (body.length <= breakAfter) response.end(body);
    else response.write(body.subarray(0, breakAfter), () => setTimeout(() => response.destroy(), 10));
  });
}

async function fetchModel(path: string, context: Partial<DownloadContext> = {}): Promise<Blob> {
  const { signal } = new AbortController();
  const file = await download(base + path, { signal, onBytes: () => undefined, retryMs: 10, ...context });
  assert.ok(file instanceof Blob);
  return file;
}

async function assertSame(blob: Blob, bytes: Uint8Array = FILE): Promise<void> {
  assert.ok(Buffer.from(await blob.arrayBuffer()).equals(bytes));
}

/** Looks at a model of so many files as the host does; tells what it was asked. */
function modelInspector(files: number, log: (entry: string) => void = () => undefined): ModelInspector {
  const header = new (fakeWasm({ log }).WasmHeader)(files, '{}');
  return {
    read: async (file, { bytes, fileSize }) => header.read(file, bytes, fileSize),
    finish: () => header.prepare(),
  };
}
const inspector: Inspector = (file) => modelInspector(1).read(0, file);

test('downloads with progress', async () => {
  serveFile('/model.gguf', FILE);
  const seen: [number, number | undefined][] = [];
  await assertSame(
    await fetchModel('/model.gguf', { onBytes: (...at) => seen.push(at), inspect: inspector }),
  );
  assert.deepEqual(seen.at(-1), [FILE.length, FILE.length]);
  assert.ok(seen.length > 3);
});

test('sends headers to the server', async () => {
  serveFile('/private.gguf', FILE);
  await fetchModel('/private.gguf', { headers: { Authorization: 'Bearer x' } });
  assert.equal(requests.at(-1)?.auth, 'Bearer x');
});

test('a missing file is `http_status` with status and address', async () => {
  await assert.rejects(fetchModel('/none.gguf'), (error: unknown) => {
    code('http_status', /404 Not Found for http:.*none\.gguf/)(error);
    assert.equal((error as { status: number }).status, 404);
    return true;
  });
});

test('no server is `network`, at once', async () => {
  const { signal } = new AbortController();
  const started = performance.now();
  await assert.rejects(
    download('http://127.0.0.1:9/model.gguf', { signal, onBytes: () => undefined }),
    code('network'),
  );
  assert.ok(performance.now() - started < 250);
});

test('web pages and other files are told apart from models', async () => {
  const answer = (type: string, text: string): Handler => {
    return (_, response) => response.writeHead(200, { 'content-type': type }).end(text);
  };
  routes.set('/page.gguf', answer('text/html', '<!doctype html><title>App</title>'));
  routes.set('/lfs.gguf', answer('text/plain', 'version https://git-lfs.github.com/spec/v1'));
  routes.set('/text.gguf', answer('text/plain', 'hello'));
  routes.set('/empty.gguf', answer('text/plain', ''));
  await assert.rejects(fetchModel('/page.gguf'), code('invalid_gguf', /web page/));
  await assert.rejects(fetchModel('/lfs.gguf'), code('invalid_gguf', /Git LFS/));
  await assert.rejects(fetchModel('/text.gguf'), code('invalid_gguf', /not a GGUF/));
  await assert.rejects(fetchModel('/empty.gguf'), code('truncated', /empty/));
});

test('a model that cannot run stops the download early', async () => {
  serveFile('/bad.gguf', modelBytes(100_000_000, 'bad-architecture'));
  let received = 0;
  await assert.rejects(
    fetchModel('/bad.gguf', { inspect: inspector, onBytes: (loaded) => (received = loaded) }),
    { code: 'unsupported_architecture' },
  );
  assert.ok(received < 2_000_000, `${received} bytes were taken`);
});

test('inspects again when the header is longer', async () => {
  const bytes = modelBytes(3_000_000, 'long-header');
  serveFile('/long.gguf', bytes);
  const lengths: number[] = [];
  const inspect: Inspector = (file) => {
    lengths.push(file.bytes.length);
    return inspector(file);
  };
  await assertSame(await fetchModel('/long.gguf', { inspect }), bytes);
  assert.equal(lengths.length, 2);
  assert.ok((lengths[0] ?? 0) < 1_000_000 && (lengths[1] ?? 0) >= 1_000_000);
});

test('a broken connection is resumed where it broke', async () => {
  serveFile('/broken.gguf', FILE, { breakAfter: 1_200_000 });
  requests.length = 0;
  await assertSame(await fetchModel('/broken.gguf', { inspect: inspector }));
  assert.deepEqual(
    requests.map(({ range }) => range),
    [undefined, 'bytes=1200000-', 'bytes=2400000-'],
  );
});

test('without ranges, or with another file now, a broken download is `truncated`', async () => {
  serveFile('/no-ranges.gguf', FILE, { breakAfter: 1_200_000, ranges: false });
  await assert.rejects(fetchModel('/no-ranges.gguf'), code('truncated', /after 1\.2 of 3\.0 MB/));
  let version = 0;
  serveFile('/changed.gguf', FILE, { breakAfter: 1_200_000, etag: () => `"${version++}"` });
  await assert.rejects(fetchModel('/changed.gguf'), code('truncated'));
});

test('resuming is given up after four tries without progress', async () => {
  let answers = 0;
  routes.set('/dying.gguf', (_, response) => {
    answers += 1;
    response.writeHead(answers === 1 ? 200 : 503, { 'content-length': 1000 });
    response.write(modelBytes(500), () => setTimeout(() => response.destroy(), 10));
  });
  await assert.rejects(fetchModel('/dying.gguf'), code('truncated'));
  assert.equal(answers, 5);
});

test('a server that falls silent is asked again', async () => {
  serveFile('/silent.gguf', FILE);
  const whole = routes.get('/silent.gguf');
  routes.set('/silent.gguf', (request, response) => {
    if (request.headers.range) return whole?.(request, response);
    response.writeHead(200, { 'content-length': FILE.length, etag: '"1"' }).write(FILE.subarray(0, 1000));
  });
  await assertSame(await fetchModel('/silent.gguf', { stallMs: 50 }));
});

test('a server that asks for time gets it', async () => {
  serveFile('/busy.gguf', FILE, { breakAfter: 2_000_000 });
  const file = routes.get('/busy.gguf');
  let asked = 0;
  routes.set('/busy.gguf', (request, response) => {
    asked += 1;
    if (asked !== 2) return file?.(request, response);
    response.writeHead(429, { 'retry-after': '1' }).end();
  });
  const started = performance.now();
  await assertSame(await fetchModel('/busy.gguf'));
  assert.ok(performance.now() - started >= 1000);
});

test('where the tag is hidden, the date tells that the file has changed', async () => {
  let day = 1;
  routes.set('/dated.gguf', (_, response) => {
    response.writeHead(day === 1 ? 200 : 206, {
      'content-length': FILE.length - (day - 1) * 1000,
      'last-modified': `Mon, 0${day++} Jun 2026 10:00:00 GMT`,
    });
    response.write(FILE.subarray(0, 1000), () => setTimeout(() => response.destroy(), 10));
  });
  await assert.rejects(fetchModel('/dated.gguf'), code('truncated', /after 0\.0 of 3\.0 MB/));
  assert.equal(day, 3);
});

test('a download can be aborted, also while it waits to resume', async () => {
  routes.set('/slow.gguf', (_, response) => {
    response.writeHead(200, { 'content-length': 1000 });
    response.write(modelBytes(500));
  });
  const stop = async (path: string, retryMs = 300): Promise<void> => {
    const controller = new AbortController();
    const loading = fetchModel(path, { signal: controller.signal, retryMs });
    setTimeout(() => controller.abort(), 150);
    await assert.rejects(loading, (error: Error) => error.name === 'AbortError' || code('aborted')(error));
  };
  await stop('/slow.gguf');
  serveFile('/short.gguf', FILE, { breakAfter: 100 });
  await stop('/short.gguf');
});

test('a body longer than announced (hidden compression) is taken whole', async () => {
  // Chunked transfer without a length stands for it: nothing is known before the end.
  routes.set('/unknown.gguf', (_, response) => {
    response.write(FILE.subarray(0, 1_000_000));
    response.end(FILE.subarray(1_000_000));
  });
  const totals = new Set<number | undefined>();
  await assertSame(
    await fetchModel('/unknown.gguf', { inspect: inspector, onBytes: (_, total) => totals.add(total) }),
  );
  assert.deepEqual([...totals], [undefined]);
});

test('a browser that keeps no more is told as it is', async (context) => {
  serveFile('/much.gguf', modelBytes(20_000_000));
  context.mock.method(Response.prototype, 'blob', () => Promise.reject(new TypeError('Failed to fetch')));
  await assert.rejects(fetchModel('/much.gguf'), code('out_of_memory', /keeps no more than 8\.\d MB/));
});

test('shards count as one download and are read by range', async () => {
  for (const shard of [1, 2, 3]) serveFile(`/m-0000${shard}-of-00003.gguf`, FILE.subarray(0, shard * 1000));
  const specs = [1, 2, 3].map(
    (shard) => ({ kind: 'url', url: `${base}/m-0000${shard}-of-00003.gguf` }) as const,
  );
  const reports: LoadProgress[] = [];
  const sources = await openSources(specs, {
    download: {},
    inspect: modelInspector(3),
    signal: new AbortController().signal,
    onProgress: (progress) => reports.push(progress),
  });
  assert.deepEqual(
    sources.map((source) => source.size()),
    [1000, 2000, 3000],
  );
  assert.deepEqual(await sources[2]?.read(500, 10), FILE.slice(500, 510));
  assert.ok(reports.every(({ total }) => total === 6000));
  assert.deepEqual(reports.at(-1), {
    phase: 'download',
    loaded: 6000,
    total: 6000,
    file: 'm-00003-of-00003.gguf',
  });
});

test('the headers of all shards are looked at before any weight is fetched', async () => {
  const bad = modelBytes(3_000_000, 'long-header bad-architecture');
  for (const [shard, bytes] of [FILE, FILE, bad].entries()) serveFile(`/s-0000${shard + 1}.gguf`, bytes);
  const specs = [1, 2, 3].map((shard) => ({ kind: 'url', url: `${base}/s-0000${shard}.gguf` }) as const);
  const seen: string[] = [];
  const inspect = modelInspector(3, (entry) => seen.push(entry));
  let loaded = 0;
  const onProgress = (progress: LoadProgress): void => void (loaded = progress.loaded);
  const { signal } = new AbortController();
  requests.length = 0;
  await assert.rejects(openSources(specs, { download: {}, inspect, signal, onProgress }), {
    code: 'unsupported_architecture',
  });
  assert.ok(loaded < 1_000_000, `${loaded} bytes were taken`);
  // Each header once, and no preparation when one is bad.
  assert.equal(new Set(seen).size, seen.length);
  assert.ok(seen.includes('read 2 262144') && seen.every((entry) => entry.startsWith('read ')), seen.join());
  const later = requests.filter(({ method, url }) => method === 'GET' && !url.includes('00001'));
  assert.ok(later.length >= 2 && later.every(({ range }) => range?.startsWith('bytes=0-')));
});

test('Engine.load from an address: progress, abort, errors', async () => {
  serveFile('/model.gguf', FILE);
  const phases = new Set<string>();
  const log: string[] = [];
  const engine = await Engine.load(`${base}/model.gguf`, {
    worker: fakeWorker({ log: (entry) => log.push(entry) }),
    onProgress: ({ phase }) => phases.add(phase),
  });
  assert.equal(engine.info.fileSize, FILE.length);
  assert.deepEqual([...phases], ['download', 'header', 'weights']);
  // What the header told during the download is handed on.
  assert.match(log[0] ?? '', /^read 0 \d+$/);
  assert.equal(log[1], `prepare ${FILE.length} {"backend":"auto"}`);
  assert.equal(log[2], 'load {"backend":"auto"} with header');
  await engine.dispose();

  const load = (path: string, signal?: AbortSignal): Promise<Engine> =>
    Engine.load(new URL(path, base), { worker: fakeWorker(), signal });
  await assert.rejects(load('/none.gguf'), code('http_status', /404/));
  serveFile('/bad.gguf', modelBytes(9_000_000, 'bad-architecture'));
  await assert.rejects(load('/bad.gguf'), code('unsupported_architecture'));
  const controller = new AbortController();
  const loading = load('/slow.gguf', controller.signal);
  await sleep(50);
  controller.abort();
  await assert.rejects(loading, code('aborted'));
});

test("the first shard's address brings its siblings", async () => {
  for (const shard of [1, 2, 3]) serveFile(`/n-0000${shard}-of-00003.gguf`, FILE.subarray(0, shard * 1000));
  const whole = await Engine.load(`${base}/n-00001-of-00003.gguf`, { worker: fakeWorker() });
  assert.equal(whole.info.fileSize, 6000);
  await whole.dispose();
  assert.deepEqual(expandShards('https://a.example/m-00001-of-00002.gguf?token=1'), [
    { kind: 'url', url: 'https://a.example/m-00001-of-00002.gguf?token=1' },
    { kind: 'url', url: 'https://a.example/m-00002-of-00002.gguf?token=1' },
  ]);
  assert.equal(expandShards('https://a.example/m-00002-of-00003.gguf').length, 1);
});
