// A stand-in for the wasm module: no model, but the same behaviour towards the host. It answers a chat with a fixed
// Markdown text, word by word; tests set the text, the pace and the failures.
import type { ByteSource, WasmEngine, WasmGeneration, WasmHeader } from '../src/inkling.js';
import type { CoreChatRequest, CoreCompletionRequest, GenerationEvent } from '../src/protocol.js';
import type { GpuInfo, ModelInfo } from '../src/types.js';
import type { WasmModule } from '../src/wasm.js';

/** How the fake behaves. */
export interface FakeOptions {
  /** What every generation answers. */
  answer?: string;
  /** Milliseconds that each step takes. */
  stepMs?: number;
  /** Milliseconds that loading takes, spread over 20 progress reports. */
  loadMs?: number;
  /** Thrown by the step with that number, counted from 0. */
  failAtStep?: { step: number; error: unknown };
  /** Thrown by `load` after the header. */
  failLoad?: unknown;
  /** What came of the GPU. */
  gpu?: GpuInfo;
  /** What computes after a GPU was lost in the first completion; replacing it takes 20 reports of `stepMs` each. */
  replacement?: string;
  /** Told about each call, for tests of order and of freeing. */
  log?: (entry: string) => void;
}

/** An error as the wasm module throws it. */
export function coreError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

/** The fake's model. */
export const FAKE_INFO: ModelInfo = {
  name: 'Fake 1B',
  architecture: 'fake',
  kind: 'text',
  description: 'Not a model: answers every question with the same text.',
  parameters: 1_000_000,
  fileSize: 10_000_000,
  quantization: 'Q8_0',
  contextLength: 512,
  trainedContextLength: 512,
  vocabSize: 256,
  embeddingLength: 64,
  layers: 4,
  backend: 'fake',
  threads: 1,
  hasChatTemplate: true,
  memoryBytes: 12_000_000,
};

const DEFAULT_ANSWER = `Here is what a **small model** can write:

1. Lists, with \`inline code\`,
2. *emphasis* and **strong** words,
3. and [links](https://example.com).

\`\`\`js
const greet = (name) => \`Hello, \${name}!\`;
console.log(greet('world'));
\`\`\`

> It is only a stand-in; the real one comes later. 🖋️

That is all for now.`;

/** Makes a fake wasm module. */
export function fakeWasm(options: FakeOptions = {}): WasmModule {
  return {
    WasmHeader: class extends FakeHeader {
      constructor(files: number, optionsJson: string) {
        super(files, optionsJson, options);
      }
    },
    renderTemplate: (template, context) => `${template}|${context}`,
    WasmEngine: {
      load: (sources, optionsJson, onProgress, header) => {
        options.log?.(`load ${optionsJson}${header ? ' with header' : ''}`);
        return load(sources, onProgress, options);
      },
    },
  };
}

/** A header is the whole of the file's first bytes; the file's text says what is wrong with it. */
class FakeHeader implements WasmHeader {
  readonly #sizes: number[] = [];

  constructor(
    readonly files: number,
    readonly optionsJson: string,
    readonly options: FakeOptions,
  ) {}

  read(file: number, prefix: Uint8Array, fileSize: number): number | undefined {
    this.options.log?.(`read ${file} ${prefix.length}`);
    const text = new TextDecoder('latin1').decode(prefix);
    if (text.includes('bad-architecture')) {
      const message = 'model architecture `bad` is not supported; supported: llama';
      throw coreError('unsupported_architecture', message);
    }
    if (text.includes('long-header') && text.length < 1_000_000) return 1_000_000;
    this.#sizes[file] = fileSize;
    return undefined;
  }

  prepare(): Promise<void> {
    this.options.log?.(`prepare ${this.#sizes.join(' ')} ${this.optionsJson}`);
    return Promise.resolve();
  }

  free(): void {
    this.options.log?.('free header');
  }
}

async function load(
  sources: ByteSource[],
  onProgress: (json: string) => boolean,
  options: FakeOptions,
): Promise<WasmEngine> {
  const total = sources.reduce((sum, source) => sum + source.size(), 0);
  const magic = new TextDecoder().decode(await sources[0]?.read(0, 4));
  if (magic !== 'GGUF') throw coreError('invalid_gguf', `not a valid GGUF file: it starts with ${magic}`);
  onProgress(JSON.stringify({ phase: 'header', loaded: 4, total: 4 }));
  if (options.failLoad !== undefined) throw options.failLoad;
  for (let part = 1; part <= 20; part += 1) {
    await sleep((options.loadMs ?? 0) / 20);
    if (!onProgress(JSON.stringify({ phase: 'weights', loaded: (total * part) / 20, total }))) {
      throw coreError('cancelled', 'cancelled');
    }
  }
  options.log?.('loaded');
  return new FakeEngine(options, total);
}

class FakeEngine implements WasmEngine {
  readonly #options: FakeOptions;
  readonly #fileSize: number;
  #replaced = 0;
  #onRecovery: (json: string) => boolean = () => true;

  constructor(options: FakeOptions, fileSize: number) {
    this.#options = options;
    this.#fileSize = fileSize;
  }

  info(): string {
    // As the real one, which writes absent facts as null.
    const gpu = this.#options.gpu ?? null;
    const backend = (this.#replaced > 0 && this.#options.replacement) || FAKE_INFO.backend;
    return JSON.stringify({ ...FAKE_INFO, fileSize: this.#fileSize, license: null, gpu, backend });
  }

  replaced(): number {
    return this.#replaced;
  }

  onRecovery(onProgress: (json: string) => boolean): void {
    this.#onRecovery = onProgress;
  }

  /** Replaces the GPU if it is lost; false when that is not wanted any more. */
  async #recover(): Promise<boolean> {
    if (this.#options.replacement === undefined || this.#replaced > 0) return true;
    for (let part = 0; part <= 20; part += 1) {
      const report = { phase: 'weights', loaded: part, total: part && 20 };
      if (!this.#onRecovery(JSON.stringify(report))) return false;
      await sleep(this.#options.stepMs ?? 0);
    }
    this.#replaced = 1;
    return true;
  }

  tokenize(text: string): Uint32Array {
    return Uint32Array.from(new TextEncoder().encode(text));
  }

  detokenize(tokens: Uint32Array): string {
    return new TextDecoder().decode(Uint8Array.from(tokens));
  }

  logits(tokens: Uint32Array): Promise<Float32Array> {
    this.#options.log?.('logits');
    return Promise.resolve(
      Float32Array.from({ length: FAKE_INFO.vocabSize }, (_, id) => (id === tokens.at(-1) ? 1 : 0)),
    );
  }

  /** A text's embedding is its length and its first character, one token a character. */
  async embed(requestJson: string): Promise<string> {
    this.#options.log?.(`embed ${requestJson}`);
    if (this.#options.stepMs) await sleep(this.#options.stepMs);
    const { text, tokens, truncate } = JSON.parse(requestJson) as {
      text?: string;
      tokens?: number[];
      truncate: boolean;
    };
    const length = (text ?? tokens ?? '').length;
    if (length > 100 && !truncate) throw coreError('context_full', 'the text has too many tokens');
    return JSON.stringify({ embedding: [length, text?.charCodeAt(0) ?? 0, 0.5], tokens: length });
  }

  /** Longer documents are better. */
  async rank(requestJson: string): Promise<string> {
    this.#options.log?.(`rank ${requestJson}`);
    if (this.#options.stepMs) await sleep(this.#options.stepMs);
    const { query, document } = JSON.parse(requestJson) as { query: string; document: string };
    return JSON.stringify({ score: document.length / 100, tokens: query.length + document.length });
  }

  startChat(requestJson: string): WasmGeneration {
    const { messages, maxTokens, now } = JSON.parse(requestJson) as CoreChatRequest;
    if (messages.length === 0) throw coreError('invalid_request', 'invalid request: there is no message');
    this.#options.log?.(`chat ${JSON.stringify(messages)}`);
    this.#options.log?.(`now ${String(now)}`);
    return new FakeGeneration(this.#options, JSON.stringify(messages).length >> 2, maxTokens);
  }

  startCompletion(requestJson: string): WasmGeneration {
    const { prompt, promptTokens, maxTokens } = JSON.parse(requestJson) as CoreCompletionRequest;
    this.#options.log?.(`completion ${requestJson}`);
    const recover = (): Promise<boolean> => this.#recover();
    return new FakeGeneration(this.#options, (prompt ?? promptTokens ?? '').length, maxTokens, recover);
  }

  free(): void {
    this.#options.log?.('free engine');
  }
}

class FakeGeneration implements WasmGeneration {
  readonly #options: FakeOptions;
  readonly #promptTokens: number;
  readonly #maxTokens: number;
  readonly #words: string[];
  readonly #recover: () => Promise<boolean>;
  readonly #start = performance.now();
  #prefilled = 0;
  #firstTokenAt = 0;
  #written = 0;
  #step = 0;
  #cancelled = false;

  constructor(
    options: FakeOptions,
    promptTokens: number,
    maxTokens = Infinity,
    recover: () => Promise<boolean> = () => Promise.resolve(true),
  ) {
    this.#options = options;
    this.#recover = recover;
    this.#promptTokens = Math.max(1, promptTokens);
    this.#maxTokens = maxTokens;
    this.#words = (options.answer ?? DEFAULT_ANSWER).match(/\s*\S+/g) ?? [];
  }

  async step(): Promise<string> {
    if (this.#options.stepMs) await sleep(this.#options.stepMs);
    const fail = this.#options.failAtStep;
    if (fail?.step === this.#step) throw fail.error;
    if (this.#written === 2 && !(await this.#recover())) this.#cancelled = true;
    this.#step += 1;
    return JSON.stringify(this.#next());
  }

  cancel(): void {
    this.#options.log?.('cancel generation');
    this.#cancelled = true;
  }

  free(): void {
    this.#options.log?.('free generation');
  }

  #next(): GenerationEvent {
    const word = this.#words[this.#written];
    if (this.#cancelled) return this.#done('cancelled');
    if (this.#prefilled < this.#promptTokens) {
      this.#prefilled = Math.min(this.#promptTokens, this.#prefilled + 32);
      const total = this.#promptTokens;
      return { type: 'prefill', done: this.#prefilled, total, reused: 0, droppedMessages: 0 };
    }
    if (word === undefined) return this.#done('stop');
    if (this.#written >= this.#maxTokens) return this.#done('length');
    if (this.#written === 0) this.#firstTokenAt = performance.now();
    this.#written += 1;
    return { type: 'token', id: this.#written, text: word };
  }

  #done(finishReason: 'stop' | 'length' | 'cancelled'): GenerationEvent {
    const prefillMs = (this.#firstTokenAt || performance.now()) - this.#start;
    const decodeMs = Math.max(0.001, performance.now() - this.#start - prefillMs);
    return {
      type: 'done',
      finishReason,
      text: '',
      usage: { promptTokens: this.#promptTokens, completionTokens: this.#written, reusedTokens: 0 },
      droppedMessages: 0,
      timings: {
        ttftMs: prefillMs,
        prefillTps: (this.#promptTokens * 1000) / Math.max(0.001, prefillMs),
        decodeTps: (this.#written * 1000) / decodeMs,
        prefillMs,
        decodeMs,
      },
      contextUsed: Math.min(512, this.#promptTokens + this.#written),
    };
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
