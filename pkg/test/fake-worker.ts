// A worker without a model, for work on a page before (or without) the wasm build:
// `Engine.load(source, { worker: () => new Worker(new URL('…/fake-worker.js', import.meta.url), { type: 'module' }) })`.
import { serve } from '../src/host.js';
import type { HostPort } from '../src/host.js';
import { fakeWasm } from './fake-wasm.js';

serve(globalThis as unknown as HostPort, () => Promise.resolve(fakeWasm({ stepMs: 25, loadMs: 800 })));
