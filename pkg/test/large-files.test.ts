// Files beyond 2 and 4 GB, read by range through the real wasm module: a small model whose data lies that far behind its
// header must answer as the small file does. Nothing of that size exists; the source makes up what lies between.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ByteSource } from '../src/inkling.js';
import type { WasmModule } from '../src/wasm.js';
import { headerMovedBy } from './moved.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const model = readFileSync(`${root}tests/fixtures/models/llama-q-Q4_0.gguf`);
const GIB = 1024 ** 3;
const TOKENS = Uint32Array.of(1, 17, 42);

/** The model as a file whose data lies `shift` bytes further back, and the furthest byte that was asked for. */
function movedBy(shift: number): ByteSource & { furthest: number } {
  const { header, dataStart } = headerMovedBy(model, shift);
  return {
    furthest: 0,
    size: () => model.length + shift,
    read(offset, length) {
      this.furthest = Math.max(this.furthest, offset + length);
      const bytes = new Uint8Array(length);
      bytes.set(header.subarray(offset, offset + length));
      const from = offset - shift;
      if (from >= dataStart) bytes.set(model.subarray(from, from + length));
      return Promise.resolve(bytes);
    },
  };
}

test('models whose weights lie beyond 2 and 4 GB are read where they are', async () => {
  const glue = (await import(`${root}pkg/dist/inkling.js`)) as WasmModule & {
    default(input: { module_or_path: Uint8Array }): Promise<unknown>;
  };
  await glue.default({ module_or_path: readFileSync(`${root}pkg/dist/inkling_bg.wasm`) });
  const answers: Float32Array[] = [];
  for (const shift of [0, 3 * GIB, 5 * GIB, 700 * GIB]) {
    const source = movedBy(shift);
    const totals: number[] = [];
    const engine = await glue.WasmEngine.load([source], '{"backend":"cpu"}', (json) => {
      const { phase, total } = JSON.parse(json) as { phase: string; total: number };
      if (phase === 'weights') totals.push(total);
      return true;
    });
    assert.ok(source.furthest > shift && source.furthest <= source.size());
    assert.ok(totals.every((total) => total === totals[0] && total < model.length));
    answers.push(await engine.logits(TOKENS));
    engine.free();
  }
  for (const answer of answers) assert.deepEqual(answer, answers[0]);
});
