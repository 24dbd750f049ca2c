import { json } from './checks.js';
import { abortError } from './errors.js';
import { macrotask } from './generation-loop.js';
import type { WasmEngine } from './inkling.js';
import type { Calls, Results } from './protocol.js';

/** Calls into the engine, one call at a time. */
type Enter = (call: (engine: WasmEngine) => Promise<string>) => Promise<string>;

/** What both loops need from the host. */
export interface TextLoop {
  enter: Enter;
  report(done: number, total: number): void;
  signal: AbortSignal;
}

/** Embeds one text after the other; between two the worker reads its messages. */
export async function embedAll(
  { texts, options }: Calls['embed'],
  loop: TextLoop,
): Promise<Results['embed']> {
  const requests = texts.map((text) => ({ ...text, ...options }));
  const answers = await each<{ embedding: number[]; tokens: number }>(requests, loop, (engine, request) =>
    engine.embed(request),
  );
  return {
    vectors: answers.map(({ embedding }) => Float32Array.from(embedding)),
    tokens: answers.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}

/** Scores one document after the other. */
export async function rankAll(
  { query, documents, truncate }: Calls['rank'],
  loop: TextLoop,
): Promise<Results['rank']> {
  const requests = documents.map((document) => ({ query, document, truncate }));
  const answers = await each<{ score: number; tokens: number }>(requests, loop, (engine, request) =>
    engine.rank(request),
  );
  return {
    scores: answers.map(({ score }) => score),
    tokens: answers.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}

async function each<Answer>(
  requests: object[],
  { enter, report, signal }: TextLoop,
  ask: (engine: WasmEngine, request: string) => Promise<string>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (const request of requests) {
    if (signal.aborted) throw abortError(signal.reason);
    answers.push(JSON.parse(await enter((engine) => ask(engine, json(request)))) as Answer);
    report(answers.length, requests.length);
    await macrotask();
  }
  return answers;
}
