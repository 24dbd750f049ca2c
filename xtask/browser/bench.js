// Tokens a second in the browser; the same cases as xtask/native/src/bench.rs runs on the host.
import { Engine } from '/pkg/index.js';
import { variantOf } from './variant.js';

export async function run(job, post) {
  for (const model of job.models) {
    const blob = await (await fetch(`/files/${encodeURIComponent(model)}`)).blob();
    for (const backend of job.cases.backends) {
      const engine = await Engine.load(blob, { backend, ...variantOf(job) });
      try {
        await measure(job.cases, model, engine, post);
      } finally {
        await engine.dispose();
      }
    }
    await profile(job, model, post);
  }
}

/** Where the time goes, see profile-worker.js. */
function profile(job, model, post) {
  const variant = variantOf(job);
  return new Promise((resolve, reject) => {
    const worker = new Worker('/profile-worker.js', { type: 'module' });
    const end = (settle) => {
      worker.terminate();
      settle();
    };
    worker.onerror = (event) => end(() => reject(new Error(event.message)));
    worker.onmessage = ({ data: { line, done, error } }) => {
      if (error) end(() => reject(new Error(error)));
      else if (line) post('line', { where: 'browser', model, ...variant, ...line }).catch(reject);
      else if (done) end(resolve);
    };
    worker.postMessage({ url: `/files/${encodeURIComponent(model)}`, variant, cases: job.cases.profile });
  });
}

async function measure(cases, model, engine, post) {
  const { contextLength, quantization, backend } = engine.info;
  const report = async (test, tokens, once) => {
    await once(); // to warm up
    const runs = [];
    for (let i = 0; i < cases.runs; i++) runs.push(Math.round((await once()) * 10) / 10);
    runs.sort((a, b) => a - b);
    const tokens_per_second = runs[Math.floor(runs.length / 2)];
    await post('line', {
      where: 'browser',
      model,
      quantization,
      backend,
      test,
      tokens,
      tokens_per_second,
      runs,
    });
  };
  for (const count of cases.prefill) {
    if (count <= contextLength) await report('prefill', count, () => prefill(engine, count));
  }
  const { prompt, tokens } = cases.decode;
  if (prompt + tokens <= contextLength) await report('decode', tokens, () => decode(engine, prompt, tokens));
}

/** Tokens that differ, so that no cache of rows helps more than with a text. */
function promptOf(engine, count) {
  return Array.from({ length: count }, (_, i) => (i * 7919 + 13) % engine.info.vocabSize);
}

/** Tokens a second from nothing to the logits after the prompt, the way to the worker and back included. */
async function prefill(engine, count) {
  const tokens = promptOf(engine, count);
  const start = performance.now();
  await engine.logits(tokens);
  return (count / (performance.now() - start)) * 1000;
}

/** Tokens a second, one at a time, after a short prompt; the engine's own clock. */
async function decode(engine, promptLength, count) {
  const completion = await engine.complete({
    prompt: promptOf(engine, promptLength),
    max_tokens: count,
    temperature: 0,
    ignore_eos: true,
  });
  return completion.inkling.timings.decode_tps;
}
