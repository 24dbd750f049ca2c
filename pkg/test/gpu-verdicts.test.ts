// What is kept about a GPU from one load to the next.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from '../src/engine.js';
import { storedVerdicts } from '../src/gpu-verdicts.js';
import type { Verdicts } from '../src/gpu-verdicts.js';
import type { Backend, GpuInfo } from '../src/types.js';
import { fakeWorker, modelBytes, sleep } from './harness.js';

const gpu: GpuInfo = {
  adapter: 'imitation',
  checked: true,
  memoryBytes: 1,
  quarantined: [],
  verdict: '{"good":true}',
};

/** Verdicts in memory. */
function memory(): Verdicts & { kept: Map<string, string> } {
  const kept = new Map<string, string>();
  return {
    kept,
    read: (model) => Promise.resolve(kept.get(model)),
    write: (model, adapter, verdict) => Promise.resolve(void kept.set(model, `${adapter}: ${verdict}`)),
  };
}

/** Loads a model of so many bytes; gives the options that reached the engine, and its info. */
async function load(verdicts: Verdicts, backend: Backend, size = 64): Promise<[object, Engine]> {
  const calls: string[] = [];
  const worker = fakeWorker({ gpu, log: (entry) => calls.push(entry) }, verdicts);
  const engine = await Engine.load(modelBytes(size), { worker, backend });
  const options = calls.find((entry) => entry.startsWith('load '))?.slice(5) ?? 'null';
  return [JSON.parse(options) as object, engine];
}

test('a verdict is handed to the next load of that model, where the GPU may run it', async () => {
  const verdicts = memory();
  const [first, engine] = await load(verdicts, 'auto');
  assert.deepEqual(first, { backend: 'auto' });
  assert.deepEqual(engine.info.gpu, gpu);
  await sleep(1);
  const gpuVerdict = 'imitation: {"good":true}';
  assert.deepEqual((await load(verdicts, 'gpu'))[0], { backend: 'gpu', gpuVerdict });
  assert.deepEqual((await load(verdicts, 'cpu'))[0], { backend: 'cpu' });
  assert.deepEqual((await load(verdicts, 'auto', 128))[0], { backend: 'auto' });
});

test('without storage, or without WebGPU, there is simply no verdict', async () => {
  const verdicts = storedVerdicts('1.0.0');
  assert.equal(await verdicts.read('model'), undefined);
  await verdicts.write('model', 'adapter', '{}');
});
