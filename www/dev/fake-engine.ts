// Stands in for `inkling-llm` in `npm run dev:fake`: the page can be worked on without a wasm build. Never shipped.
import type {
  ChatCompletionChunk,
  ChatCompletionParams,
  LoadOptions,
  ModelInfo,
  ModelSource,
} from 'inkling-llm';

export class EngineError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly status?: number,
  ) {
    super(message);
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const story =
  'Once upon a time, a curious fox named Finn lived in a garden full of flowers. Finn could not sleep because the night was so dark. "Are you afraid?" asked a tired old horse. "A little," said Finn. So the horse sat down beside him and showed him the stars, one after another. Before they had counted to twenty, Finn was fast asleep. And so Finn learned that even small ones can do great things.';

const rich = `### Three ways to sort

A list can be sorted in *many* ways. Here is **bubble sort**, with [its article](https://example.org/bubble) and a [bad link](javascript:alert(1)):

\`\`\`python
def bubble_sort(items):
    for end in range(len(items) - 1, 0, -1):
        for i in range(end):
            if items[i] > items[i + 1]:
                items[i], items[i + 1] = items[i + 1], items[i]
    return items
\`\`\`

| Method | Best | Worst | Stable |
| --- | ---: | ---: | :---: |
| Bubble sort | n | n² | yes |
| Merge sort | n log n | n log n | yes |
| Quicksort | n log n | n² | no |

1. Compare two neighbours with \`>\`.
2. Swap them if they stand wrong.
   - Nothing is lost.
   - Equal ones keep their order.
3. Go on until nothing moves.

> A good algorithm is like a good sentence: nothing in it is there for show.

<script>alert(1)</script> ![image](https://example.org/x.png) & that is all.`;

const info: ModelInfo = {
  name: 'inkling-9m-chat',
  architecture: 'llama',
  kind: 'text',
  license: 'CC BY-SA 4.0',
  parameters: 9_437_184,
  fileSize: 10_500_000,
  quantization: 'Q8_0',
  contextLength: 512,
  trainedContextLength: 512,
  vocabSize: 12288,
  embeddingLength: 256,
  layers: 8,
  backend: 'cpu-simd',
  threads: 1,
  hasChatTemplate: true,
  memoryBytes: 14_000_000,
};

export class Engine {
  info = info;
  chat = { completions: { create: (params: ChatCompletionParams) => generate(params) } };

  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Engine> {
    const text = String(source);
    for (let loaded = 0; loaded <= 20; loaded++) {
      if (options.signal?.aborted) throw new EngineError('aborted', 'aborted');
      options.onProgress?.({ phase: 'download', loaded: loaded * 525_000, total: 10_500_000 });
      await sleep(text.includes('slow') ? 500 : 20);
    }
    if (text.includes('404')) throw new EngineError('http_status', 'the server answered 404', 404);
    if (source instanceof Blob) throw new EngineError('invalid_gguf', 'not a valid GGUF file: wrong magic');
    return new Engine();
  }

  async dispose(): Promise<void> {}
}

function generate(params: ChatCompletionParams) {
  let stopped = false;
  async function* chunks(): AsyncGenerator<ChatCompletionChunk> {
    const last = String(params.messages.at(-1)?.content ?? '');
    const text = /sort|markdown/i.test(last) ? rich : story;
    const total = 20 + 30 * params.messages.length;
    params.onPrefill?.({ done: total, total, reused: 0, droppedMessages: 0 });
    await sleep(200);
    const make = (content: string, end: 'stop' | 'cancelled' | null): ChatCompletionChunk => ({
      id: 'x',
      object: 'chat.completion.chunk',
      created: 0,
      model: info.name,
      choices: [{ index: 0, delta: { content }, logprobs: null, finish_reason: end }],
    });
    let count = 0;
    for (const piece of text.match(/\s*\S{1,6}|\s+/g) ?? []) {
      if (stopped) break;
      count++;
      yield make(piece, null);
      await sleep(18);
    }
    yield {
      ...make('', stopped ? 'cancelled' : 'stop'),
      usage: {
        prompt_tokens: total,
        completion_tokens: count,
        total_tokens: total + count,
        prompt_tokens_details: { cached_tokens: 0 },
      },
      inkling: {
        timings: { ttft_ms: 200, prefill_ms: 200, decode_ms: count * 18, prefill_tps: 400, decode_tps: 52.4 },
        dropped_messages: 0,
        context_used: total + count,
      },
    };
  }
  return Object.assign(chunks(), { stop: () => void (stopped = true) });
}
