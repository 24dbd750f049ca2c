// Which build is taken, on which machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { candidates, defaultThreads } from '../src/choose-build.js';

const ALL = ['simd', 'relaxed', 'simd_threads', 'relaxed_threads'];
const EVERYTHING = { relaxedSimd: true, threads: true };

test('takes the fastest build that the browser runs', () => {
  const best = (threads: number, relaxedSimd: boolean, shared: boolean): string | undefined =>
    candidates(threads, { relaxedSimd, threads: shared }, ALL)[0];
  assert.equal(best(4, true, true), 'relaxed_threads');
  assert.equal(best(4, true, false), 'relaxed');
  assert.equal(best(4, false, true), 'simd_threads');
  assert.equal(best(4, false, false), 'simd');
  assert.equal(best(1, true, true), 'relaxed');
  assert.equal(best(1, false, true), 'simd');
});

test('takes only builds that the package carries, and falls back to plain ones', () => {
  assert.deepEqual(candidates(4, EVERYTHING, ['simd', 'relaxed_threads']), ['relaxed_threads', 'simd']);
  assert.deepEqual(candidates(4, { relaxedSimd: false, threads: false }, ['simd', 'relaxed_threads']), [
    'simd',
  ]);
  assert.deepEqual(candidates(4, EVERYTHING, ALL).at(-1), 'simd');
});

test('leaves the page a core', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 8, 12, 32].map((cores) => defaultThreads(cores)),
    [1, 1, 2, 2, 4, 6, 8],
  );
});
