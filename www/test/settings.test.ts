import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describe } from '../src/errors.ts';
import { defaults, parseSettings, seedOf } from '../src/settings.ts';
import { backendName, backendStory, megabytes, people } from '../src/words.ts';

test('stored settings are taken as far as they make sense', () => {
  assert.deepEqual(parseSettings(null), defaults);
  assert.deepEqual(parseSettings('not json'), defaults);
  assert.deepEqual(parseSettings('[1]'), defaults);
  assert.deepEqual(parseSettings('{"backend":"abacus"}'), defaults);
  assert.deepEqual(parseSettings('{"temperature":0.1,"topK":"x","unknown":1}'), {
    ...defaults,
    temperature: 0.1,
  });
});

test('a seed is digits or nothing', () => {
  assert.equal(seedOf(' 42 '), 42);
  for (const text of ['', 'abc', '-1', '1.5', '1e3', '9'.repeat(30)]) assert.equal(seedOf(text), undefined);
});

test('numbers in words', () => {
  assert.equal(people(9_437_184), '9.4 million');
  assert.equal(people(494_032_768), '494 million');
  assert.equal(people(1_235_814_432), '1.2 billion');
  assert.equal(megabytes(10_463_616), '10.5 MB');
  assert.equal(megabytes(397_000_000), '397 MB');
  assert.equal(megabytes(2_400_000_000), '2.4 GB');
});

test('what computes, and why', () => {
  const gpu = { adapter: 'maker model', checked: true, memoryBytes: 1, quarantined: [], verdict: '{}' };
  assert.equal(backendName({ backend: 'cpu-simd', threads: 1 }), 'CPU, SIMD');
  assert.equal(backendName({ backend: 'cpu-simd', threads: 4 }), 'CPU, SIMD, 4 threads');
  assert.equal(backendName({ backend: 'new', threads: 1 }), 'new');
  assert.equal(backendName({ backend: 'webgpu-subgroups', threads: 4, gpu }), 'WebGPU, checked');
  assert.equal(backendName({ backend: 'webgpu', threads: 4, gpu: { ...gpu, checked: false } }), 'WebGPU');
  assert.equal(backendStory({ backend: 'cpu-simd', threads: 1 }), undefined);
  const story = (backend: string, part: object): string | undefined =>
    backendStory({ backend, threads: 1, gpu: { ...gpu, ...part } });
  assert.match(story('webgpu', { quarantined: ['heads'] }) ?? '', /^On maker model\. .* 1 of its kernels/);
  assert.equal(
    story('cpu-simd', { reason: 'no usable GPU: no adapter' }),
    'The GPU is not used: no adapter.',
  );
});

test('errors say what to do', () => {
  const error = Object.assign(new Error('404'), { code: 'http_status', status: 404 });
  assert.match(describe(error).title, /404/);
  assert.equal(
    describe(Object.assign(new Error('x'), { code: 'invalid_gguf' })).title,
    'This is not a GGUF model.',
  );
  assert.equal(describe(new Error('anything')).code, 'internal');
  assert.equal(describe('text').detail, 'text');
});
