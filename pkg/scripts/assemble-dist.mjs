// Puts beside the compiled files what tsc does not make: the wasm modules and their glue, which `cargo xtask build`
// left in wasm/, the glue's types (our own, narrower than the generated ones), the table of builds, and the licences.
import { copyFile, readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { builds } = await import(`${root}wasm/builds.js`).catch(() => {
  console.error('pkg/wasm/ is missing: run `cargo xtask build` first; dist/ is incomplete without it');
  process.exitCode = 1;
  return { builds: [] };
});

const wasmOf = (name) => (name === 'simd' ? 'inkling_bg.wasm' : `inkling_${name}_bg.wasm`);
const wasm = ['inkling.js', 'inkling_threads.js', ...builds.map(wasmOf)];
const files = [
  ...(builds.length > 0 ? [...wasm, 'notices.txt'].map((name) => `wasm/${name}`) : []),
  'src/inkling.d.ts',
  'src/inkling_threads.d.ts',
  'src/builds.d.ts',
  '../LICENSE-APACHE',
  '../LICENSE-MIT',
];
for (const file of files) await copyFile(root + file, `${root}dist/${basename(file)}`);

// Bundlers look for exactly these expressions, and stumble over files that are not there.
const entries = builds.map((name) => `  ${name}: () => new URL('./${wasmOf(name)}', import.meta.url),\n`);
// The glue would make the memory itself, with a maximum that not every device can set aside.
const glue = builds.length > 0 ? await readFile(`${root}wasm/inkling_threads.js`, 'utf8') : '';
const sharedPages = /new WebAssembly\.Memory\(\{initial:(\d+),/.exec(glue)?.[1];
if (glue && !sharedPages)
  throw new Error('the glue for threads no longer says how much memory its builds start with');
const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8'));
await writeFile(
  `${root}dist/builds.js`,
  `export const builds = {\n${entries.join('')}};\n` +
    `export const sharedPages = ${sharedPages ?? 0};\nexport const version = '${version}';\n`,
);
