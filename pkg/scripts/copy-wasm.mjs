// Copies what `cargo xtask build` left in wasm/ (the wasm module and its glue) into dist/, the only folder published.
import { copyFile, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const files = ['inkling.js', 'inkling.d.ts', 'inkling_bg.wasm'];

await mkdir(`${root}dist`, { recursive: true });
for (const file of files) {
  try {
    await copyFile(`${root}wasm/${file}`, `${root}dist/${file}`);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    console.error(`wasm/${file} is missing: run \`cargo xtask build\` first; dist/ is incomplete without it`);
    process.exitCode = 1;
  }
}
