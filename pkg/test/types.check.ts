// Compiled, never run: what the public types must accept, refuse and infer.
import { Engine, EngineError } from '../src/index.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatMessage,
  Completion,
  CompletionChunk,
  CompletionStream,
  EmbeddingResponse,
  EngineErrorCode,
  FinishReason,
  ModelInfo,
  RerankResponse,
} from '../src/index.js';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_: Same<A, B>): void {}

export async function typesHold(engine: Engine, flag: boolean, file: File): Promise<void> {
  const messages: ChatMessage[] = [{ role: 'user', content: 'Hi' }];
  const { completions } = engine.chat;

  const whole = completions.create({ messages });
  same<typeof whole, Promise<ChatCompletion>>(true);
  const streamed = completions.create({ messages, stream: true });
  same<typeof streamed, CompletionStream<ChatCompletionChunk>>(true);
  const either = completions.create({ messages, stream: flag });
  same<typeof either, CompletionStream<ChatCompletionChunk> | Promise<ChatCompletion>>(true);
  const text = engine.complete({ prompt: 'x' });
  same<typeof text, Promise<Completion>>(true);
  const pieces = engine.complete({ prompt: [1, 2], stream: true });
  same<typeof pieces, CompletionStream<CompletionChunk>>(true);

  const vectors = engine.embeddings.create({ input: ['x', 'y'], dimensions: 2, encoding_format: 'float' });
  same<typeof vectors, Promise<EmbeddingResponse>>(true);
  const encoded = engine.embeddings.create({
    input: [[1, 2], new Uint32Array(3)],
    encoding_format: 'base64',
  });
  same<typeof encoded, Promise<EmbeddingResponse<string>>>(true);
  const ranked = engine.rerank({ query: 'x', documents: ['y', { text: 'z' }], top_n: 1 });
  same<typeof ranked, Promise<RerankResponse>>(true);
  // @ts-expect-error a number is no text
  void engine.embeddings.create({ input: 3 });

  // OpenAI's clients await the stream first; that works too.
  for await (const chunk of await streamed) {
    same<(typeof chunk.choices)[0]['finish_reason'], FinishReason | null>(true);
    same<typeof chunk.usage, ChatCompletionChunk['usage']>(true);
  }
  const { choices } = await whole;
  same<(typeof choices)[0]['message']['content'], string>(true);

  // @ts-expect-error messages are required
  void completions.create({ stream: true });
  // @ts-expect-error camelCase is not the request's spelling
  void completions.create({ messages, maxTokens: 3 });
  // @ts-expect-error there are no such roles
  void completions.create({ messages: [{ role: 'robot', content: '' }] });
  // @ts-expect-error an overflow policy is one of two
  void completions.create({ messages, overflow: 'shift' });
  // @ts-expect-error engines come from Engine.load
  new Engine();

  await Engine.load('model.gguf', { signal: undefined, worker: () => new Worker('x', { type: 'module' }) });
  await Engine.load([file, new Uint8Array(4), new URL('a:b')], { kvType: 'f16', worker: new Worker('x') });
  // @ts-expect-error a number is no model
  await Engine.load(3);
  same<typeof engine.info, ModelInfo>(true);

  const error: unknown = undefined;
  if (error instanceof EngineError) {
    same<typeof error.code, EngineErrorCode>(true);
    // @ts-expect-error no such code
    void (error.code === 'timeout');
  }
}
