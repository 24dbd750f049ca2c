// Runs one generation for the page: as a stream of chunks, or as a promise of the whole answer.
import { readable } from './checks.js';
import { dropOnAbort, shielded } from './client.js';
import type { Client } from './client.js';
import { abortError, EngineError, toEngineError } from './errors.js';
import type { AnswerShape } from './openai.js';
import type { RequestOptions } from './openai-types.js';
import type { Calls, GenerationDone, GenerationEvent } from './protocol.js';
import { ChunkQueue } from './stream.js';

/** The two calls that generate text. */
type Kind = 'chat' | 'completion';

/** Options of an answer; `stream` decides what is given back. */
interface AnswerOptions extends RequestOptions {
  stream?: boolean | null | undefined;
}

/** Starts the generation that `request` describes. Errors come through what is returned, never directly. */
export function answer<Chunk, Whole>(
  client: Client,
  kind: Kind,
  request: () => Calls[Kind]['request'],
  shape: AnswerShape<Chunk, Whole>,
  options: AnswerOptions,
): ChunkQueue<Chunk> | Promise<Whole> {
  return options.stream === true
    ? streamed(client, kind, request, shape, options)
    : whole(client, kind, request, shape, options);
}

async function whole<Whole>(
  client: Client,
  kind: Kind,
  request: () => Calls[Kind]['request'],
  shape: AnswerShape<unknown, Whole>,
  { signal, onPrefill }: RequestOptions,
): Promise<Whole> {
  let text = '';
  let done: GenerationDone | undefined;
  const onGeneration = eachEvent(onPrefill, (event) => {
    text += event.text;
    if (event.type === 'done') done = event;
  });
  await client.call(kind, { request: readable(request) }, { signal, onGeneration });
  if (!done) throw new EngineError('internal', 'The answer ended without a closing event.');
  return shape.whole(text, done);
}

function streamed<Chunk>(
  client: Client,
  kind: Kind,
  request: () => Calls[Kind]['request'],
  shape: AnswerShape<Chunk, unknown>,
  { signal, onPrefill }: RequestOptions,
): ChunkQueue<Chunk> {
  let stop = (): void => undefined;
  let leave = stop;
  const queue = new ChunkQueue<Chunk>({ stop: () => stop(), leave: () => leave() });
  const start = async (): Promise<void> => {
    if (signal?.aborted) throw abortError(signal.reason);
    let opening = shape.opening();
    const onGeneration = eachEvent(onPrefill, (event) => {
      if (opening !== undefined) queue.push(opening);
      opening = undefined;
      if (event.text !== '') queue.push(shape.piece(event.text));
      if (event.type === 'done') queue.push(shape.closing(event));
    });
    const call = client.start(kind, { request: readable(request) }, { onGeneration });
    stop = () => call.cancel();
    leave = () => call.drop(abortError());
    await dropOnAbort(call, signal);
  };
  start().then(
    () => queue.end(),
    (thrown: unknown) => queue.fail(toEngineError(thrown), signal?.aborted),
  );
  return queue;
}

/** Hands prefill events to one callback and those with text to another. */
function eachEvent(
  onPrefill: RequestOptions['onPrefill'],
  onText: (event: Exclude<GenerationEvent, { type: 'prefill' }>) => void,
): (events: GenerationEvent[]) => void {
  return (events) => {
    for (const event of events) {
      if (event.type !== 'prefill') {
        onText(event);
        continue;
      }
      const { done, total, reused, droppedMessages } = event;
      if (onPrefill) shielded(() => onPrefill({ done, total, reused, droppedMessages }));
    }
  };
}
