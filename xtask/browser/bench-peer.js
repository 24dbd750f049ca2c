// Our engine and wllama (llama.cpp in WebAssembly) in turn, on the same file with the same text and threads.
import { Engine } from '/pkg/index.js';
import { variantOf } from './variant.js';

export async function run(job, post) {
  const { models, cases } = job;
  const variant = variantOf(job);
  for (const model of models) {
    const blob = await (await fetch(`/files/${encodeURIComponent(model)}`)).blob();
    const rounds = [];
    for (let round = 0; round < cases.runs; round++) {
      const pair = {};
      for (const [name, open] of [
        ['wllama', openWllama],
        ['inkling', openInkling],
      ]) {
        pair[name] = await measure(await open(blob, variant), cases);
        await post('line', { where: 'browser', model, engine: name, ...variant, round, ...pair[name] });
      }
      rounds.push(pair);
    }
    const ratios = Object.keys(rounds[0].inkling).map((test) => [
      test,
      median(rounds.map(({ inkling, wllama }) => inkling[test] / wllama[test])),
    ]);
    await post('line', { where: 'browser', model, ...variant, ratios: Object.fromEntries(ratios) });
  }
}

/** Tokens a second as they reach the page. */
async function measure(engine, cases) {
  const result = {};
  await engine.generate(textOf(64), 1, () => {}); // to warm up
  await engine.generate(textOf(16), 16, () => {});
  for (const count of cases.prefill) {
    const start = performance.now();
    let first = 0;
    const { promptTokens } = await engine.generate(textOf(count), 1, () => (first ||= performance.now()));
    result[`prefill ${count}`] = round((promptTokens / (first - start)) * 1000);
  }
  const times = [];
  await engine.generate(textOf(cases.decode.prompt), cases.decode.tokens + 1, () =>
    times.push(performance.now()),
  );
  result.decode = round(((times.length - 1) / (times.at(-1) - times[0])) * 1000);
  await engine.close();
  return result;
}

async function openInkling(blob, variant) {
  const engine = await Engine.load(blob, { backend: 'cpu', contextLength: 1024, ...variant });
  return {
    close: () => engine.dispose(),
    async generate(prompt, count, onToken) {
      const request = { prompt, max_tokens: count, temperature: 0, ignore_eos: true, cache_prompt: false };
      let usage;
      for await (const chunk of engine.complete({ ...request, stream: true })) {
        if (chunk.choices[0]?.finish_reason === null) onToken();
        usage = chunk.usage ?? usage;
      }
      return { promptTokens: usage.prompt_tokens };
    },
  };
}

async function openWllama(blob, { threads }) {
  const { Wllama } = await import('/peer/esm/index.js');
  const quiet = { debug() {}, log() {}, warn() {}, error() {} };
  const wllama = new Wllama(
    { default: '/peer/esm/wasm/wllama.wasm' },
    { suppressNativeLog: true, logger: quiet },
  );
  await wllama.loadModel([blob], { n_ctx: 1024, n_parallel: 1, n_threads: threads, n_gpu_layers: 0 });
  return {
    close: () => wllama.exit(),
    async generate(prompt, count, onToken) {
      let timings;
      const request = { prompt, max_tokens: count, temperature: 0, top_k: 1, ignore_eos: true };
      const onData = (chunk) => {
        timings = chunk.timings ?? timings;
        onToken();
      };
      await wllama.createCompletion({ ...request, cache_prompt: false, stream: true, onData });
      return { promptTokens: timings.prompt_n };
    },
  };
}

let seed = 1;

/** Letters in words, another text each time, so that no cache of prompts helps; about `count` tokens or fewer. */
function textOf(count) {
  const letter = () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return String.fromCharCode(97 + ((seed >>> 8) % 26));
  };
  return Array.from({ length: count }, (_, i) => (i % 6 === 5 && i < count - 1 ? ' ' : letter())).join('');
}

function median(numbers) {
  return round(numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]);
}

function round(number) {
  return Math.round(number * 10) / 10;
}
