// The worker's entry: `new Worker(…/worker.js, { type: 'module' })`.
import { version } from './builds.js';
import { storedVerdicts } from './gpu-verdicts.js';
import { serve } from './host.js';
import type { HostPort } from './host.js';
import { loadWasm } from './wasm.js';

serve(globalThis as unknown as HostPort, loadWasm, storedVerdicts(version));
