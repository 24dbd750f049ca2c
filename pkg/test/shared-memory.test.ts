// How much memory is set aside for threads where the browser grants little of it.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';

const GB = 2 ** 30;
const { Memory } = WebAssembly;
after(() => (WebAssembly.Memory = Memory));

const built = await import(new URL('../../dist/shared-memory.js', import.meta.url).href).catch(
  () => undefined,
);
const options = built ? {} : { skip: 'needs a build' };

/** Bytes that a browser which grants `limit` sets aside for a model of `fileBytes`; and how often it was asked. */
async function reserved(limit: number, fileBytes: number): Promise<[number | null, number]> {
  let asked = 0;
  WebAssembly.Memory = function (descriptor: WebAssembly.MemoryDescriptor) {
    asked += 1;
    const bytes = (descriptor.maximum ?? 0) * 65536;
    if (bytes > limit) throw new RangeError('Out of memory');
    return { bytes };
  } as unknown as typeof WebAssembly.Memory;
  const { reserveMemory } = built as typeof import('../src/shared-memory.js');
  const memory = (await reserveMemory(Promise.resolve(fileBytes))) as { bytes: number } | null;
  return [memory?.bytes ?? null, asked];
}

test(
  'takes all that 32 bits can address where it can be had, before it knows the model',
  options,
  async () => {
    assert.deepEqual(await reserved(4 * GB, Infinity), [4 * GB, 1]);
  },
);

test('takes less on a phone, if the model fits', options, async () => {
  assert.deepEqual(await reserved(2 * GB, GB), [2 * GB, 2]);
  assert.deepEqual(await reserved(1.5 * GB, 0.5 * GB), [GB, 3]);
});

test('takes none where the model would not fit, or nothing is granted', options, async () => {
  assert.deepEqual(await reserved(1.5 * GB, 0.9 * GB), [null, 2]);
  assert.deepEqual(await reserved(2 * GB, Number.MAX_SAFE_INTEGER), [null, 1]);
  assert.deepEqual(await reserved(0, 1000), [null, 3]);
});

test('takes none where the browser has none', options, async () => {
  WebAssembly.Memory = class {
    constructor() {
      throw new TypeError('no');
    }
  } as unknown as typeof WebAssembly.Memory;
  const { reserveMemory } = built as typeof import('../src/shared-memory.js');
  assert.equal(await reserveMemory(Promise.resolve(0)), null);
});
