// The package as others get it: importable anywhere, documented, and complete once it is built.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const sources = readdirSync(`${root}src`).filter((file) => file.endsWith('.ts'));
const read = (file: string): string => readFileSync(root + file, 'utf8');
const built = existsSync(`${root}dist/inkling.js`) ? {} : { skip: 'dist/ is not built' };

function importsInNode(specifier: string): string {
  const script = `const names = Object.keys(await import(${JSON.stringify(specifier)})); console.log(names.join());`;
  const flags = ['--input-type=module', '--eval', script];
  return execFileSync(process.execPath, flags, { cwd: root, encoding: 'utf8', timeout: 10_000 }).trim();
}

test('import touches no browser globals and leaves nothing running', () => {
  assert.equal(importsInNode(new URL('../src/index.js', import.meta.url).href), 'Engine,EngineError');
});

test('on a server, load says what is missing', async () => {
  const { Engine } = await import('../src/index.js');
  await assert.rejects(Engine.load('/model.gguf'), { code: 'unsupported_browser', message: /in a browser/ });
});

test('every export has a doc comment', () => {
  const missing: string[] = [];
  for (const file of sources) {
    const lines = read(`src/${file}`).split('\n');
    lines.forEach((line, index) => {
      const exported =
        /^export (?:default )?(?:async )?(?:class|interface|type|function|const) (?![{*])/.test(line);
      if (exported && !lines[index - 1]?.endsWith('*/')) missing.push(`${file}:${index + 1} ${line}`);
    });
  }
  assert.deepEqual(missing, []);
});

test('every option and every member of Engine has a doc comment', () => {
  const missing: string[] = [];
  for (const file of ['types.ts', 'engine.ts']) {
    const lines = read(`src/${file}`).split('\n');
    lines.forEach((line, index) => {
      const member = /^ {2}(?:static |async |readonly )*([a-z]\w*)[?(:].*[;{(]$/.exec(line);
      const name = member?.[1];
      const before = lines[index - 1] ?? '';
      const body = line.endsWith('{') && before.trimStart().startsWith(`${name}(`); // after its overloads
      const documented = before.endsWith('*/') || body;
      const inside = /^ {2}(?:constructor|if|for|return)\b/.test(line);
      const worker = ['postMessage', 'addEventListener', 'terminate'].includes(name ?? '');
      if (member && !documented && !inside && !worker) missing.push(`${file}:${index + 1} ${line}`);
    });
  }
  assert.deepEqual(missing, []);
});

test('no source file is longer than 400 lines, and none uses `any`', () => {
  for (const file of sources) {
    const text = read(`src/${file}`);
    assert.ok(text.split('\n').length <= 400, file);
    assert.doesNotMatch(text, /[:<|] ?any\b|\bas any\b/, file);
  }
});

test('the worker is named as bundlers look for it', () => {
  assert.match(
    read('src/create-worker.ts'),
    /new Worker\(new URL\('\.\/worker\.js', import\.meta\.url\), \{ type: 'module' \}\)/,
  );
});

test('the built package has all that its exports name, and imports by its name', built, () => {
  const manifest = JSON.parse(read('package.json')) as {
    exports: Record<string, string | Record<string, string>>;
  };
  for (const target of Object.values(manifest.exports)) {
    for (const path of typeof target === 'string' ? [target] : Object.values(target)) {
      assert.ok(path.includes('*') || existsSync(root + path), path);
    }
  }
  assert.match(read('dist/builds.js'), /new URL\('\.\/inkling_bg\.wasm', import\.meta\.url\)/);
  const [types] = Object.keys(manifest.exports['.'] ?? {});
  assert.equal(types, 'types', 'types come first');
  assert.equal(importsInNode('inkling-llm'), 'Engine,EngineError');
});

test('the wasm module has the border that src/inkling.d.ts describes', built, () => {
  const check = `
    import init, * as made from '../wasm/inkling.js';
    import type * as ours from '../src/inkling.js';
    type Engine = Omit<ours.WasmEngine, 'startChat' | 'startCompletion'>;
    export const start: (input: { module_or_path: Response }) => Promise<unknown> = init;
    export const functions: Pick<typeof ours, 'renderTemplate'> = made;
    export const header: ours.WasmHeader = new made.WasmHeader(1, '');
    type Load = Parameters<typeof ours.WasmEngine.load>;
    export const load = (a: Load[0], b: Load[1], c: Load[2], header: made.WasmHeader): Promise<Engine> =>
      made.WasmEngine.load(a, b, c, header);
    export const generation = (it: made.WasmGeneration): ours.WasmGeneration => it;
    export const chat = (it: made.WasmEngine): made.WasmGeneration => it.startChat('') ?? it.startCompletion('');
  `;
  compile('abi-check.ts', check);
});

/** Type-checks a text as if it lay in build/. */
function compile(name: string, text: string): void {
  const file = `${root}build/${name}`;
  const config = `${root}build/tsconfig.${name}.json`;
  writeFileSync(file, text);
  writeFileSync(
    config,
    JSON.stringify({
      extends: '../tsconfig.json',
      compilerOptions: { noEmit: true, rootDir: '..', lib: ['ESNext', 'DOM'] },
      include: [name],
    }),
  );
  try {
    execFileSync('npx', ['--no-install', 'tsc', '-p', config], { cwd: root, encoding: 'utf8' });
  } catch (error) {
    assert.fail((error as { stdout: string }).stdout);
  }
}
