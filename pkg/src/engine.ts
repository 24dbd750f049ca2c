import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  Completion,
  CompletionChunk,
  CompletionParams,
} from './openai-types.js';
import type {
  DetokenizeOptions,
  JsonValue,
  LoadOptions,
  ModelInfo,
  ModelSource,
  TokenizeOptions,
} from './types.js';

/**
 * Pieces of an answer as they are written. Leaving a `for await` loop early stops the model. Can be read once;
 * errors are thrown by the loop as `EngineError`.
 */
export interface CompletionStream<Chunk> extends AsyncIterableIterator<Chunk> {
  /** Ends the answer where it is: the last chunk comes with `finish_reason: "cancelled"`, usage and timings. */
  stop(): void;
}

/** The part of an engine that speaks OpenAI's chat interface. */
export interface Chat {
  completions: {
    /** Answers a conversation. Requests wait for each other; errors reject as `EngineError`. */
    create(params: ChatCompletionParams & { stream: true }): CompletionStream<ChatCompletionChunk>;
    create(params: ChatCompletionParams & { stream?: false | null | undefined }): Promise<ChatCompletion>;
    create(params: ChatCompletionParams): CompletionStream<ChatCompletionChunk> | Promise<ChatCompletion>;
  };
}

/** A model loaded in a worker of its own. All failures are `EngineError`s. */
export class Engine {
  /** What is known about the model. */
  declare readonly info: ModelInfo;
  /** OpenAI's chat interface: `engine.chat.completions.create({ messages })`. */
  declare readonly chat: Chat;

  private constructor() {}

  /** Starts a worker and loads a GGUF model into it. */
  static load(source: ModelSource, options: LoadOptions = {}): Promise<Engine> {
    throw new Error(`not yet: ${String(source)} ${String(options)}`);
  }

  /** Continues a text as it stands, without a chat template. */
  complete(params: CompletionParams & { stream: true }): CompletionStream<CompletionChunk>;
  complete(params: CompletionParams & { stream?: false | null | undefined }): Promise<Completion>;
  complete(params: CompletionParams): CompletionStream<CompletionChunk> | Promise<Completion>;
  complete(params: CompletionParams): CompletionStream<CompletionChunk> | Promise<Completion> {
    throw new Error(`not yet: ${String(params)}`);
  }

  /** Text → token ids. */
  tokenize(text: string, options: TokenizeOptions = {}): Promise<Uint32Array> {
    throw new Error(`not yet: ${text} ${String(options)}`);
  }

  /** Token ids → text. */
  detokenize(tokens: Uint32Array | readonly number[], options: DetokenizeOptions = {}): Promise<string> {
    throw new Error(`not yet: ${String(tokens)} ${String(options)}`);
  }

  /** Scores over the vocabulary for the token after these. */
  logits(tokens: Uint32Array | readonly number[]): Promise<Float32Array> {
    throw new Error(`not yet: ${String(tokens)}`);
  }

  /** Renders a chat template (Jinja, as Hugging Face renders it) with the variables of `context`. */
  renderTemplate(template: string, context: { readonly [key: string]: JsonValue }): Promise<string> {
    throw new Error(`not yet: ${template} ${String(context)}`);
  }

  /** Rejects what is pending with code `disposed`, frees the model and ends the worker. Safe to call twice. */
  dispose(): Promise<void> {
    throw new Error('not yet');
  }
}
