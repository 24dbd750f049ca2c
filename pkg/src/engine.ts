import { answer } from './answer.js';
import { json, text as textOf, tokenIds, whole } from './checks.js';
import { Client, shielded } from './client.js';
import { createWorker, requireWorkers } from './create-worker.js';
import { abortError, EngineError, toEngineError } from './errors.js';
import { requireWasmSimd } from './features.js';
import { chatRequest, chatShape, completionRequest, completionShape } from './openai.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  Completion,
  CompletionChunk,
  CompletionParams,
  RequestOptions,
} from './openai-types.js';
import type { CoreCompletionRequest, CoreLoadOptions } from './protocol.js';
import { absolute, describeSource } from './source.js';
import type { CompletionStream } from './stream.js';
import type { RerankParams, RerankResponse, TokenIds } from './text-types.js';
import { embeddings, rerank } from './texts.js';
import type { Embeddings } from './texts.js';
import type {
  DetokenizeOptions,
  DownloadOptions,
  JsonValue,
  LoadOptions,
  ModelInfo,
  ModelSource,
  TokenizeOptions,
} from './types.js';

/** The part of an engine that speaks OpenAI's chat interface. */
export interface Chat {
  /** Answers to conversations. */
  completions: ChatCompletions;
}

/** Answers to conversations. Requests wait for each other; all errors are `EngineError`s. */
export interface ChatCompletions {
  /** Answers a conversation piece by piece. Errors are thrown by the loop that reads the stream. */
  create(params: ChatCompletionParams & { stream: true }): CompletionStream<ChatCompletionChunk>;
  /** Answers a conversation; resolves when the answer is complete. */
  create(params: ChatCompletionParams & { stream?: false | null | undefined }): Promise<ChatCompletion>;
  /** Answers a conversation as `stream` says. */
  create(params: ChatCompletionParams): CompletionStream<ChatCompletionChunk> | Promise<ChatCompletion>;
}

/** A model loaded in a worker of its own. All failures are `EngineError`s. */
export class Engine {
  /** OpenAI's chat interface: `engine.chat.completions.create({ messages })`. */
  readonly chat: Chat;
  /** OpenAI's embeddings interface: `engine.embeddings.create({ input })`. */
  readonly embeddings: Embeddings;
  readonly #client: Client;
  #info: ModelInfo;
  #disposing: Promise<void> | undefined;

  private constructor(client: Client, info: ModelInfo, { onInfo, onRecovery }: LoadOptions) {
    this.#client = client;
    this.#info = info;
    client.onInfo = (news) => {
      this.#info = news;
      if (onInfo) shielded(() => onInfo(news));
    };
    if (onRecovery) client.onRecovery = (progress) => shielded(() => onRecovery(progress));
    const create = (
      params: ChatCompletionParams,
    ): CompletionStream<ChatCompletionChunk> | Promise<ChatCompletion> =>
      answer(client, 'chat', () => chatRequest(params), chatShape(info.name), params);
    this.chat = { completions: { create: create as ChatCompletions['create'] } };
    this.embeddings = embeddings(client, info.name);
  }

  /**
   * Starts a worker and loads a GGUF model into it.
   *
   * Rejects with code `aborted` when the signal fires; `network`, `http_status` or `truncated` when the download
   * fails; `invalid_gguf` or an `unsupported_…` code when the file cannot run, as early in the download as its
   * bytes tell; `out_of_memory`, `unsupported_browser` or `worker_failed` when this device cannot run it.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Engine> {
    const { onProgress, signal, download = {}, threads, wasmUrl } = options;
    if (signal?.aborted) throw abortError(signal.reason);
    if (!options.worker) requireWorkers();
    requireWasmSimd();
    const call = {
      sources: describeSource(source),
      options: coreOptions(options),
      download: plainDownload(download),
      ...(threads !== undefined && { threads }),
      ...(wasmUrl !== undefined && { wasmUrl: absolute(wasmUrl) }),
    };
    const client = new Client(createWorker(options.worker));
    try {
      return new Engine(client, await client.call('load', call, { signal, onProgress }), options);
    } catch (thrown) {
      const error = toEngineError(thrown);
      // A busy worker belongs to another engine.
      if (error.code === 'busy') client.detach(error);
      else client.close(error);
      throw error;
    }
  }

  /** What is known about the model. Changes when what computes does; see `LoadOptions.onInfo`. */
  get info(): ModelInfo {
    return this.#info;
  }

  /** Continues a text as it stands, without a chat template, piece by piece. */
  complete(params: CompletionParams & { stream: true }): CompletionStream<CompletionChunk>;
  /** Continues a text as it stands, without a chat template. Requests wait for each other. */
  complete(params: CompletionParams & { stream?: false | null | undefined }): Promise<Completion>;
  /** Continues a text as `stream` says. */
  complete(params: CompletionParams): CompletionStream<CompletionChunk> | Promise<Completion>;
  complete(params: CompletionParams): CompletionStream<CompletionChunk> | Promise<Completion> {
    const request = (): CoreCompletionRequest => completionRequest(params);
    return answer(this.#client, 'completion', request, completionShape(this.info.name), params);
  }

  /** Sorts documents by how well they answer a query; for reranking models. Requests wait for each other. */
  rerank(params: RerankParams): Promise<RerankResponse> {
    return rerank(this.#client, this.info.name, params);
  }

  /** Text → token ids. Does not wait for a running answer. */
  async tokenize(
    text: string,
    { addSpecial = true, parseSpecial = false }: TokenizeOptions = {},
  ): Promise<Uint32Array> {
    return this.#client.call('tokenize', { text: textOf('text', text), addSpecial, parseSpecial });
  }

  /** Token ids → text. Does not wait for a running answer. */
  async detokenize(
    tokens: Uint32Array | readonly number[],
    { skipSpecial = false }: DetokenizeOptions = {},
  ): Promise<string> {
    return this.#client.call('detokenize', { tokens: tokenIds('tokens', tokens), skipSpecial });
  }

  /**
   * Scores over the vocabulary (`info.vocabSize` numbers, before any sampling) for the token after these. In a model
   * with encoder and decoder the encoder reads `source` and these are the decoder's tokens; without `source` the encoder
   * reads these, and the scores are for the first token of the answer.
   */
  async logits(
    tokens: TokenIds,
    { signal, source }: Pick<RequestOptions, 'signal'> & { source?: TokenIds | undefined } = {},
  ): Promise<Float32Array> {
    const call = {
      tokens: tokenIds('tokens', tokens),
      ...(source !== undefined && { source: tokenIds('source', source) }),
    };
    return this.#client.call('logits', call, { signal });
  }

  /** Renders a chat template (Jinja, as Hugging Face renders it) with the variables of `context`. */
  async renderTemplate(template: string, context: { readonly [key: string]: JsonValue }): Promise<string> {
    return this.#client.call('renderTemplate', {
      template: textOf('template', template),
      context: json(context ?? {}),
    });
  }

  /**
   * Rejects what is pending with code `disposed`, frees the model and ends the worker. Never rejects; safe to call
   * twice. The engine cannot be used afterwards.
   */
  dispose(): Promise<void> {
    this.#disposing ??= this.#client.shutDown(new EngineError('disposed', 'The engine was disposed.'));
    return this.#disposing;
  }
}

function coreOptions(options: LoadOptions): CoreLoadOptions {
  const { backend = 'auto', kvType, vocabOnly, preTokenizer, chatTemplate } = options;
  const contextLength = whole('contextLength', options.contextLength, 1);
  return {
    ...(contextLength !== undefined && { contextLength }),
    backend,
    ...(kvType !== undefined && { kvType }),
    ...(vocabOnly !== undefined && { vocabOnly }),
    ...(preTokenizer !== undefined && { preTokenizer }),
    ...(chatTemplate !== undefined && { chatTemplate }),
  };
}

/** Only what the worker needs: the caller's object may hold things that cannot be sent. */
function plainDownload({ headers, credentials }: DownloadOptions): DownloadOptions {
  return { ...(headers && { headers: { ...headers } }), ...(credentials && { credentials }) };
}
