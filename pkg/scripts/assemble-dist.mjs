// Puts beside the compiled files what tsc does not make: the wasm module and its glue, which `cargo xtask build` left
// in wasm/, the glue's types (our own, narrower than the generated ones) and the licences.
import { copyFile, readdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const made = await readdir(`${root}wasm`).catch(() => []);
const files = [
  'wasm/inkling.js',
  'wasm/inkling_threads.js',
  'wasm/builds.js',
  ...made.filter((name) => name.endsWith('.wasm')).map((name) => `wasm/${name}`),
  'src/inkling.d.ts',
  'src/inkling_threads.d.ts',
  'src/builds.d.ts',
  '../LICENSE-APACHE',
  '../LICENSE-MIT',
];

for (const file of files) {
  try {
    await copyFile(root + file, `${root}dist/${basename(file)}`);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    console.error(`pkg/${file} is missing: run \`cargo xtask build\` first; dist/ is incomplete without it`);
    process.exitCode = 1;
  }
}
