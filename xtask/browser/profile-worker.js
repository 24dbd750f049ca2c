// Times of the engine's operations, from a worker of its own: the package has no call for them.
import { loadWasm } from '/pkg/wasm.js';

self.onmessage = async ({ data }) => {
  try {
    for await (const line of profile(data)) self.postMessage({ line });
    self.postMessage({ done: true });
  } catch (error) {
    self.postMessage({ error: String(error?.stack ?? error) });
  }
};

/** A profile of each step: a prompt, then single tokens after contexts of some lengths. */
async function* profile({ url, variant, cases }) {
  const { WasmEngine } = await loadWasm(variant);
  const blob = await (await fetch(url)).blob();
  const source = {
    size: () => blob.size,
    read: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  };
  for (const kvType of cases.caches) {
    const { prompt, contexts, tokens } = cases;
    const contextLength = Math.max(prompt, ...contexts) + tokens + 1;
    const options = JSON.stringify({ backend: 'cpu', kvType, contextLength });
    const engine = await WasmEngine.load([source], options, () => true);
    const info = JSON.parse(engine.info());
    const step = (name, json) => ({ kvType, backend: info.backend, step: name, ...shares(JSON.parse(json)) });
    await engine.logits(promptOf(info, prompt)); // to warm up
    engine.profile(); // starts the clock
    await engine.logits(promptOf(info, prompt));
    yield step(`prefill ${prompt}`, engine.profile());
    for (const context of contexts.filter((context) => context + tokens < info.contextLength)) {
      yield step(`decode at ${context}`, await decode(engine, promptOf(info, context), tokens));
    }
    engine.free();
  }
}

/** The profile of `count` tokens after a prompt. */
async function decode(engine, promptTokens, count) {
  const request = { promptTokens, maxTokens: count + 1, temperature: 0, ignoreEos: true, ignoreCache: true };
  const generation = engine.startCompletion(JSON.stringify(request));
  let profile;
  for (let started = false, event; event?.type !== 'done';) {
    event = JSON.parse(await generation.step());
    if (event.type === 'token' && !started) {
      engine.profile(); // forgets the prompt
      started = true;
    }
  }
  profile = engine.profile();
  generation.free();
  return profile;
}

/** Shares of the time, and bytes of weights a second of the products. */
function shares({ ops, readSpeed }) {
  const seconds = ops.reduce((sum, op) => sum + op.seconds, 0);
  const bytes = ops.reduce((sum, op) => sum + op.bytes, 0);
  const inProducts = ops.reduce((sum, op) => sum + (op.bytes > 0 ? op.seconds : 0), 0);
  const gigabytes = (bytes, seconds) => Math.round(bytes / seconds / 1e8) / 10;
  return {
    milliseconds: Math.round(seconds * 1e4) / 10,
    shares: Object.fromEntries(ops.map((op) => [op.name, Math.round((1000 * op.seconds) / seconds) / 1000])),
    weights_gb_per_second: gigabytes(bytes, inProducts),
    read_gb_per_second: gigabytes(readSpeed, 1),
  };
}

function promptOf({ vocabSize }, count) {
  return Array.from({ length: count }, (_, i) => (i * 7919 + 13) % vocabSize);
}
