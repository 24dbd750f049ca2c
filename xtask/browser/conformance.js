// Answers a folder of questions in the browser; the same as xtask/native/src/conformance.rs does on the host.
import { Engine } from '/pkg/index.js';
import { chats, features } from './templates.js';
import { variantOf } from './variant.js';

const GREEDY_TOKENS = 16;

export async function run(job, post) {
  if (job.backend === 'gpu' && !(await navigator.gpu?.requestAdapter())) {
    console.log('this browser offers no GPU: nothing is answered');
    return;
  }
  for (const file of job.files) {
    const question = questionOf(file);
    if (!question) continue;
    let result = await answered(question, file, job);
    if (died(result)) {
      console.log(`${question.name}: the engine died, once more: ${JSON.stringify(result).slice(0, 300)}`);
      result = await answered(question, file, job);
    }
    console.log(result.error ? `${question.name}: ${result.error}` : question.name);
    await post(`${question.name}.result.json`, result);
  }
}

async function answered(question, file, job) {
  try {
    const content = question.parse(await (await fetch(address(file))).text());
    return await question.answer(content, address(`${question.name}.gguf`), job);
  } catch (error) {
    return failure(error);
  }
}

/**
 * Seen once, in WebKit on a busy machine, and never again: 160 engines in turn, 50 at once and 290 loads of the same model
 * did not do it. A wrong answer is no death.
 */
const died = (result) =>
  [result, ...(result.sequences ?? []), ...(result.greedy ?? [])].some(
    ({ code }) => code === 'worker_failed' || code === 'out_of_memory',
  );

const address = (file) => `/files/${encodeURIComponent(file)}`;

const failure = ({ message, cause, code }) => ({
  error: cause ? `${message} ${cause.message}` : message,
  ...(code && { code }),
});

/** Reads JSON so that numbers reach the template as they are written: `1.0` is not `1`, and no digit is lost. */
const exact = (text) =>
  JSON.parse(text, (_key, value, { source }) => (typeof value === 'number' ? JSON.rawJSON(source) : value));

function questionOf(file) {
  if (file === 'jinja-features.json')
    return { name: 'jinja-features', parse: exact, answer: templates(features) };
  if (file === 'chat-templates.json')
    return { name: 'chat-templates', parse: exact, answer: templates(chats) };
  const model = /^(.*)\.expected\.json$/.exec(file);
  if (model) return { name: model[1], parse: JSON.parse, answer: answerModel };
  const tokenizer = /^(.*)\.tokens\.json$/.exec(file);
  if (tokenizer) return { name: tokenizer[1], parse: JSON.parse, answer: answerTokenizer };
  return undefined;
}

/** Loads an engine for the time of `use`. */
async function withEngine(url, options, use) {
  const engine = await Engine.load(url, options);
  try {
    return await use(engine);
  } finally {
    await engine.dispose();
  }
}

/** Every item answered, or told why not. */
async function each(items, answer) {
  const results = [];
  for (const item of items ?? []) {
    results.push(await answer(item).catch(failure));
  }
  return results;
}

const templates = (answers) => (content) =>
  withEngine('/model.gguf', { vocabOnly: true, threads: 1 }, (engine) =>
    answers(content, async (template, context) => {
      if (typeof template !== 'string') return { error: 'there is no template' };
      try {
        return { expected: await engine.renderTemplate(template, context) };
      } catch (error) {
        return failure(error);
      }
    }),
  );

async function answerModel(content, url, job) {
  if (content.kind === 'encoder') return answerEncoder(content, url, job);
  const result = await answerContext(content, url, job);
  if (content.long_context) result.long_context = await answerContext(content.long_context, url, job);
  return result;
}

function answerContext(content, url, job) {
  const options = {
    backend: job.backend,
    kvType: job.kvType,
    contextLength: content.n_ctx,
    ...variantOf(job),
  };
  return withEngine(url, options, async (engine) => ({
    sequences: await each(content.sequences, async ({ tokens, encoder_tokens, decoder_tokens }) => ({
      logits: Array.from(
        await (encoder_tokens
          ? engine.logits(decoder_tokens, { source: encoder_tokens })
          : engine.logits(tokens)),
      ),
    })),
    greedy: await each(content.greedy, (question) =>
      job.backend === 'gpu' ? greedyText(engine, question) : greedy(engine, question),
    ),
  }));
}

/** Embeddings in each pooling, and as the file itself pools. */
function answerEncoder(content, url, job) {
  const options = { backend: job.backend, ...variantOf(job) };
  return withEngine(url, options, async (engine) => {
    const embed = async (tokens, pooling) => {
      const { data } = await engine.embeddings.create({ input: [tokens], pooling, normalize: false });
      return data[0].embedding;
    };
    return {
      sequences: await each(content.sequences, async ({ tokens }) => ({
        mean: await embed(tokens, 'mean'),
        cls: await embed(tokens, 'cls'),
        pooled: await embed(tokens),
      })),
    };
  });
}

/** The package streams text, not tokens, so the likeliest token is taken from the logits. */
async function greedy(engine, { prompt, encoder_tokens, tokens }) {
  const start = prompt ?? [0];
  const options = encoder_tokens && { source: encoder_tokens };
  const all = [...start];
  const count = tokens?.length ?? GREEDY_TOKENS;
  for (let step = 0; step < count; step++) {
    const logits = await engine.logits(all, options);
    all.push(logits.indexOf(logits.reduce((best, value) => Math.max(best, value), -Infinity)));
  }
  return { tokens: all.slice(start.length) };
}

/** On the GPU as the engine generates: the steps for one token are kernels of their own. And what each text would be. */
async function greedyText(engine, { prompt, encoder_tokens, tokens }) {
  const { choices } = await engine.complete({
    prompt: prompt ?? encoder_tokens,
    max_tokens: tokens?.length ?? GREEDY_TOKENS,
    temperature: 0,
    ignore_eos: true,
  });
  const known = [];
  for (let count = 1; count <= (tokens?.length ?? 0); count++)
    known.push(await engine.detokenize(tokens.slice(0, count), { skipSpecial: true }));
  return { text: choices[0].text, known };
}

function answerTokenizer(content, url) {
  return withEngine(url, { vocabOnly: true, threads: 1 }, async (engine) => ({
    cases: await each(content.cases, async ({ text }) => {
      const ids = await engine.tokenize(text, { addSpecial: false, parseSpecial: false });
      const special = await engine.tokenize(text, { addSpecial: true, parseSpecial: true });
      return {
        ids: Array.from(ids),
        ids_special: Array.from(special),
        detok: await engine.detokenize(ids, { skipSpecial: false }),
      };
    }),
  }));
}
