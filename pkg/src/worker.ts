// The worker's entry: `new Worker(…/worker.js, { type: 'module' })`. The helpers of its thread pool start here too.
import { version } from './builds.js';
import { storedVerdicts } from './gpu-verdicts.js';
import { serve } from './host.js';
import type { HostPort } from './host.js';
import { help } from './pool-helper.js';
import { HELPER_NAME } from './pool.js';
import { loadWasm } from './wasm.js';

if (self.name === HELPER_NAME) help();
else serve(globalThis as unknown as HostPort, loadWasm, storedVerdicts(version));
