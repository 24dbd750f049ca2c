// Service worker: keeps the page, the engine and the embedded model, so that a reload works without a network.
// Responses are kept as served, headers included (COOP and COEP among them). Nothing else is ever stored: models
// opened from elsewhere pass by untouched.
export {};

const worker = self as unknown as ServiceWorkerScope;
// Filled in by the build with the list of files and a hash over them.
declare const __PRECACHE_FILES__: string[];
declare const __PRECACHE_VERSION__: string;

interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface ServiceWorkerScope {
  readonly clients: { claim(): Promise<void> };
  readonly registration: { readonly scope: string };
  addEventListener(type: 'install' | 'activate', listener: (event: ExtendableEvent) => void): void;
  addEventListener(type: 'fetch', listener: (event: FetchEvent) => void): void;
}

const prefix = 'inkling-';
const cacheName = prefix + __PRECACHE_VERSION__;
const home = worker.registration.scope;
const kept = new Set(__PRECACHE_FILES__.map((path) => new URL(path, home).href));
const isEngine = (address: string): boolean => address.endsWith('.wasm');

/** The smallest module with an instruction of relaxed SIMD, as `pkg/src/features.ts` has it. */
const relaxed = WebAssembly.validate(
  Uint8Array.of(
    ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0],
    ...[10, 11, 1, 9, 0, 65, 0, 253, 17, 253, 129, 2, 11],
  ),
);

const runsHere = (engine: string): boolean => relaxed || !engine.includes('_relaxed');

/**
 * Of the engine's builds this browser uses one, and which one only the engine's worker knows: it is the one that the
 * page has just fetched, so the browser's own cache has it. Where that cannot be told, all that could run are kept; WebKit
 * answers from the network all the same.
 */
async function usedEngines(): Promise<string[]> {
  const engines = [...kept].filter((address) => isEngine(address) && runsHere(address));
  const isCached = (address: string): Promise<boolean> =>
    fetch(address, { cache: 'only-if-cached', mode: 'same-origin' }).then(
      (response) => response.ok,
      () => false,
    );
  const cached = await Promise.all(engines.map(isCached));
  const used = engines.filter((_, index) => cached[index]);
  return used.length > 0 ? used : engines;
}

async function install(): Promise<void> {
  const addresses = [...kept].filter((address) => !isEngine(address)).concat(await usedEngines());
  const cache = await caches.open(cacheName);
  await cache.addAll(addresses.map((address) => new Request(address, { cache: 'no-cache' })));
}

worker.addEventListener('install', (event) => event.waitUntil(install()));

// A newer version takes over once all pages of the older one are closed: their files must not vanish under them.
worker.addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => names.filter((name) => name.startsWith(prefix) && name !== cacheName))
      .then((old) => Promise.all(old.map((name) => caches.delete(name))))
      .then(() => worker.clients.claim()),
  );
});

async function fromCache(address: string): Promise<Response | undefined> {
  return (await caches.open(cacheName)).match(address);
}

const patience = 3000; // milliseconds

/** The page from the network, so that it is new; what is kept if that fails or takes long. */
async function page(request: Request): Promise<Response> {
  const network = fetch(request);
  const late = new Promise<void>((resolve) => setTimeout(resolve, patience));
  const prompt = await Promise.race([network.catch(() => undefined), late]);
  return prompt?.ok ? prompt : ((await fromCache(home)) ?? network);
}

async function file(request: Request, address: string): Promise<Response> {
  const whole = await fromCache(address);
  if (!whole) {
    // A build of the engine that was not used before.
    const response = await fetch(request);
    if (response.ok) await (await caches.open(cacheName)).put(address, response.clone());
    return response;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.get('range') ?? '');
  if (!range) return whole;
  const blob = await whole.blob();
  const first = Number(range[1]);
  const last = Math.min(range[2] ? Number(range[2]) : Infinity, blob.size - 1);
  if (first > last) return new Response(null, { status: 416 });
  const headers = new Headers(whole.headers);
  headers.set('Content-Range', `bytes ${first}-${last}/${blob.size}`);
  headers.set('Content-Length', String(last - first + 1));
  return new Response(blob.slice(first, last + 1), { status: 206, headers });
}

worker.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET') return;
  const url = new URL(request.url);
  if (request.mode === 'navigate' && (url.origin + url.pathname).replace(/index\.html$/, '') === home) {
    event.respondWith(page(request));
    return;
  }
  url.hash = '';
  if (kept.has(url.href)) event.respondWith(file(request, url.href));
});
