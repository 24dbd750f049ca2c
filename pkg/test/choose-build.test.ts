// Which build is taken, on which machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { candidates, defaultThreads } from '../src/choose-build.js';

const ALL = ['simd', 'relaxed', 'simd_threads', 'relaxed_threads'];

test('takes the fastest build that the browser runs', () => {
  const best = (threads: number, relaxedSimd: boolean): string | undefined =>
    candidates(threads, { relaxedSimd }, ALL)[0];
  assert.equal(best(4, true), 'relaxed_threads');
  assert.equal(best(4, false), 'simd_threads');
  assert.equal(best(1, true), 'relaxed');
  assert.equal(best(1, false), 'simd');
});

test('takes only builds that the package carries, and falls back to plain ones', () => {
  const carried = ['simd', 'relaxed_threads'];
  assert.deepEqual(candidates(4, { relaxedSimd: true }, carried), ['relaxed_threads', 'simd']);
  assert.deepEqual(candidates(1, { relaxedSimd: true }, carried), ['relaxed_threads', 'simd']);
  assert.deepEqual(candidates(1, { relaxedSimd: false }, carried), ['simd']);
  assert.deepEqual(candidates(4, { relaxedSimd: true }, ALL).at(-1), 'simd');
});

test('leaves the page a core', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 8, 12, 32].map((cores) => defaultThreads(cores)),
    [1, 1, 2, 2, 4, 6, 8],
  );
});
