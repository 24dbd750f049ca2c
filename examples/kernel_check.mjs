// Runs examples/kernel_check.rs as wasm: the kernels' case table and, with --bench, their speed.
//
//   RUSTFLAGS="-C target-feature=+simd128" cargo build --release --example kernel_check \
//       --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort           (plain; add ,+relaxed-simd for relaxed)
//   node examples/kernel_check.mjs target/wasm32-unknown-unknown/release/examples/kernel_check.wasm
//        [--bench [WORD]]        speed too, of the lines that contain WORD
//        [--chromium [FLAGS]]    in headless Chromium (CHROMIUM: its path), with V8 flags such as --no-enable-avx-vnni
//
// Node 20 needs --experimental-wasm-relaxed-simd for the relaxed build, and its speed there says nothing.
// Exit status: 1 when a check failed.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Runs in node and, as text, in the page: takes the module's bytes, gives the report. */
function run(bytes, bench) {
  const module = new WebAssembly.Module(bytes);
  const imports = {};
  let shared; // the memory of a build for threads
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind === 'memory') shared = new WebAssembly.Memory({ initial: 1024, maximum: 65536, shared: true });
    // Functions are bindings of code that does not run here.
    (imports[from] ??= {})[name] = kind === 'memory' ? shared : () => 0;
  }
  const { exports } = new WebAssembly.Instance(module, imports);
  const text = () => {
    const { buffer } = shared ?? exports.memory;
    // A copy: shared bytes are not decoded.
    return new TextDecoder().decode(new Uint8Array(buffer, exports.text_ptr(), exports.text_len()).slice());
  };
  const failures = exports.check();
  const lines = [text()];
  const timed = (runs) => {
    const start = performance.now();
    for (let i = 0; i < runs; i++) exports.bench_run();
    return performance.now() - start;
  };
  for (let i = 0, work; bench !== undefined && (work = exports.bench_prepare(i)) > 0; i++) {
    const name = text();
    if (!name.includes(bench)) continue;
    // Clocks of pages tick every 0.1 ms: count runs until enough time has gone. The best of many, as other work disturbs.
    let runs = 1;
    while (Math.min(timed(runs), timed(runs), timed(runs)) < 8) runs *= 2;
    let best = Infinity;
    for (let k = 0; k < 25; k++) best = Math.min(best, timed(runs) / runs);
    const [unit, ...rest] = name.split('  ');
    lines.push(`${(work / best / 1e6).toFixed(1).padStart(7)} ${unit.padEnd(8)} ${rest.join('  ')}`);
  }
  return { failures, report: lines.join('\n') };
}

function inChromium(bytes, bench, flags) {
  const folder = mkdtempSync(join(tmpdir(), 'kernels-'));
  const page = `<body><script>
    const bytes = Uint8Array.from(atob("${bytes.toString('base64')}"), (c) => c.charCodeAt(0));
    let result;
    try { result = (${run})(bytes, ${JSON.stringify(bench)}); }
    catch (error) { result = { failures: 1, report: String(error) }; }
    document.body.innerHTML = '<pre>' + encodeURIComponent(JSON.stringify(result)) + '</pre>';
  </script>`;
  try {
    writeFileSync(join(folder, 'page.html'), page);
    const switches = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--dump-dom',
      '--enable-features=SharedArrayBuffer',
      `--user-data-dir=${folder}/profile`,
    ];
    if (flags) switches.push(`--js-flags=${flags}`);
    const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], maxBuffer: 1 << 26 };
    const dom = execFileSync(
      process.env.CHROMIUM ?? 'chromium',
      [...switches, `file://${folder}/page.html`],
      options,
    );
    return JSON.parse(decodeURIComponent(dom.match(/<pre>(.*)<\/pre>/s)[1]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const [file, ...args] = process.argv.slice(2);
const option = (name, fallback) => {
  const at = args.indexOf(name);
  if (at < 0) return undefined;
  const value = args[at + 1];
  return value === undefined || /^--(bench|chromium)$/.test(value) ? fallback : value;
};
const bytes = readFileSync(file);
const bench = option('--bench', '');
const flags = option('--chromium', '');
const { failures, report } = flags === undefined ? run(bytes, bench) : inChromium(bytes, bench, flags);
console.log(report);
process.exitCode = failures === 0 ? 0 : 1;
