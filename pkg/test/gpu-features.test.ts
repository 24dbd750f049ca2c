// The wrapper of `GPUAdapter.prototype.requestDevice`, on an imitated adapter.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { requestGpuFeatures } from '../src/gpu-features.js';

interface Asked {
  label?: string;
  requiredFeatures?: Iterable<string>;
}

/** A scope with an adapter that has `features`, and what its devices were asked for. */
function scope(features: string[]): { GPUAdapter: new () => object; asked: string[][] } {
  const asked: string[][] = [];
  class GPUAdapter {
    features = new Set(features);
    info = { vendor: 'imitation' };
    requestDevice({ requiredFeatures = [] }: Asked = {}): Promise<object> {
      asked.push([...requiredFeatures]);
      return Promise.resolve({});
    }
  }
  return { GPUAdapter, asked };
}

const request = (adapter: object, asked?: Asked): Promise<object> =>
  (adapter as { requestDevice(asked?: Asked): Promise<object> }).requestDevice(asked);

test('asks for subgroups where the adapter has them, for the engine only', async () => {
  const { GPUAdapter, asked } = scope(['subgroups', 'timestamp-query']);
  const here = { GPUAdapter };
  requestGpuFeatures(here);
  requestGpuFeatures(here);
  const adapter = new GPUAdapter();
  const device = await request(adapter, { label: 'inkling', requiredFeatures: ['timestamp-query'] });
  await request(adapter, { label: 'another' });
  await request(adapter);
  assert.deepEqual(asked, [['timestamp-query', 'subgroups'], [], []]);
  assert.deepEqual((device as { adapterInfo: object }).adapterInfo, { vendor: 'imitation' });
});

test('asks for nothing that the adapter lacks, and does nothing without WebGPU', async () => {
  const { GPUAdapter, asked } = scope([]);
  requestGpuFeatures({ GPUAdapter });
  requestGpuFeatures({});
  await request(new GPUAdapter(), { label: 'inkling' });
  assert.deepEqual(asked, [[]]);
});
