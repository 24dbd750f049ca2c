/** A model in one piece: an address, a picked file, or bytes in memory. Relative addresses count from the page. */
export type ModelPart = string | URL | Blob | ArrayBuffer | Uint8Array;

/**
 * Where a GGUF model comes from: one piece, or the shards of a split model in order. The address of the first
 * shard (`…-00001-of-00003.gguf`) alone is enough; its siblings are fetched too.
 */
export type ModelSource = ModelPart | readonly ModelPart[];

/** How far loading has come. */
export interface LoadProgress {
  /**
   * `download`: bytes from the network, the header among them; of files on the disk that is a phase of its own. Then the
   * tokenizer and the weights are read. On a GPU kernels are compiled from the header on, which `compile` tells once the rest
   * of the file is there, and checked.
   */
  phase: 'download' | 'header' | 'tokenizer' | 'weights' | 'compile' | 'check';
  /** Done in this phase: bytes, over all files; kernels for `compile`, parts of the comparison for `check`. */
  loaded: number;
  /** The whole of this phase; 0 while the server has not told. */
  total: number;
  /** Name of the file being downloaded. */
  file?: string;
}

/** How a model is fetched, for servers that ask for credentials. */
export interface DownloadOptions {
  /** Extra request headers, `Authorization` for example. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** As in `fetch`; the default is `same-origin`. */
  credentials?: RequestCredentials | undefined;
}

/** What `new Worker(…)` gives, as far as the engine uses it. */
export interface WorkerLike {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void;
  addEventListener(type: 'error' | 'messageerror', listener: (event: Event) => void): void;
  terminate(): void;
}

/**
 * What computes.
 *
 * - `auto`: the GPU, through WebGPU, where there is one that runs the model; else the CPU. `ModelInfo.gpu` tells.
 * - `gpu`: the GPU or an error (`gpu_unavailable`, `gpu`, `out_of_memory`).
 * - `cpu`: the CPU.
 * - `reference`: the slow exact reference that tests compare with.
 */
export type Backend = 'auto' | 'gpu' | 'cpu' | 'reference';

/** What came of trying the GPU. */
export interface GpuInfo {
  /** Name of the adapter, as far as the browser tells; empty where there is none. */
  adapter: string;
  /** Whether the kernels in use gave what the reference gives, now or at an earlier load on this adapter. */
  checked: boolean;
  /** Bytes that the model takes on the GPU with the whole of its context; 0 where it did not come so far. */
  memoryBytes: number;
  /** Kernels that are not used, since they gave wrong results or were refused. */
  quarantined: string[];
  /** The outcome of the check. This package keeps it for the next load. */
  verdict: string;
  /** Why the CPU runs the model all the same, in a sentence. */
  reason?: string;
}

/** Options of `Engine.load`. */
export interface LoadOptions {
  /** Called as loading goes on, about twenty times a second at most. */
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  /**
   * Called when `engine.info` changes after loading. A GPU can be taken away at any time; the engine then opens another
   * one and goes on, or goes on with the CPU where that happens again within a minute (`info.gpu.reason` tells why).
   */
  onInfo?: ((info: ModelInfo) => void) | undefined;
  /**
   * Called while a lost GPU is replaced, as `onProgress` is while loading (the first time with a total of 0, then in the
   * phases `weights`, `compile` and `check`), and with null when that is over. A request that is stopped meanwhile ends
   * as ever, an answer with its text so far; the next request starts the replacement again.
   */
  onRecovery?: ((progress: LoadProgress | null) => void) | undefined;
  /** Stops loading; the promise rejects with code `aborted`. Has no effect once the engine is there. */
  signal?: AbortSignal | undefined;
  /** Context window in tokens; more takes more memory. Default: 4096, or the model's own where that is less. */
  contextLength?: number | undefined;
  /** What computes; see `Backend`. Default: `auto`. */
  backend?: Backend | undefined;
  /**
   * Threads to run on, where the page is cross-origin isolated. Default: half of the logical cores, at most eight,
   * always one fewer than there are. Elsewhere the engine runs on one.
   */
  threads?: number | undefined;
  /**
   * How the cache of past tokens is stored. `f32` is exact, `f16` (the default) takes half of that, `q8_0` a good quarter
   * (on the GPU it is `f16`) and, on a CPU with relaxed SIMD (not in Safari), is the fastest when the conversation is long.
   */
  kvType?: 'f16' | 'f32' | 'q8_0' | undefined;
  /** Load only the tokenizer and the metadata: no text can be generated. */
  vocabOnly?: boolean | undefined;
  /** Replaces the file's pre-tokenizer name (`tokenizer.ggml.pre`); see error `unsupported_tokenizer`. */
  preTokenizer?: string | undefined;
  /** Replaces the file's chat template (Jinja). */
  chatTemplate?: string | undefined;
  /** How addresses are fetched. */
  download?: DownloadOptions | undefined;
  /**
   * A worker that runs `inkling-llm/worker`, or a function that makes one; for bundlers that do not know
   * `new Worker(new URL(…))`. The engine owns it from then on and terminates it.
   */
  worker?: WorkerLike | (() => WorkerLike) | undefined;
  /** Address of `inkling_bg.wasm`, where it does not lie beside the worker's script; that build runs on one thread. */
  wasmUrl?: string | URL | undefined;
}

/** What is known about a loaded model. */
export interface ModelInfo {
  /** The model's own name, or the architecture where it has none. */
  name: string;
  /** Architecture as GGUF names it, `llama` for example. */
  architecture: string;
  /**
   * What the model gives: `text` (`chat.completions.create`, `complete`), `embedding` (`embeddings.create`) or scores
   * of documents (`rerank`).
   */
  kind: 'text' | 'embedding' | 'rerank';
  /** One paragraph by the model's makers. */
  description?: string;
  /** Licence as the file states it. */
  license?: string;
  /** Number of weights. */
  parameters: number;
  /** Bytes of all weights in the file. */
  fileSize: number;
  /** Storage type of most weights, `Q8_0` for example. */
  quantization: string;
  /** Context window in use, in tokens. */
  contextLength: number;
  /** Context window the model was trained for, in tokens. */
  trainedContextLength: number;
  /** Number of different tokens. */
  vocabSize: number;
  /** Width of the model. */
  embeddingLength: number;
  /** Number of transformer layers. */
  layers: number;
  /** What computes, `cpu-simd` or `webgpu` for example. */
  backend: string;
  /** What came of the GPU; absent where none was tried. */
  gpu?: GpuInfo;
  /** Threads that compute. */
  threads: number;
  /** Whether the file brings a chat template; without one a plain format is used. */
  hasChatTemplate: boolean;
  /** Bytes that the weights take in memory. */
  memoryBytes: number;
}

/** Options of `Engine.tokenize`. */
export interface TokenizeOptions {
  /** Add the tokens that the model expects at the start (and end) of a text. Default: true. */
  addSpecial?: boolean | undefined;
  /** Read control tokens written in the text (`<|im_end|>`) as such. Default: false. */
  parseSpecial?: boolean | undefined;
}

/** Options of `Engine.detokenize`. */
export interface DetokenizeOptions {
  /** Leave control tokens out of the text. Default: false. */
  skipSpecial?: boolean | undefined;
}

/** How far reading the prompt has come. */
export interface PrefillProgress {
  /** Prompt tokens read so far, those remembered from earlier turns included. */
  done: number;
  /** Prompt tokens in all. */
  total: number;
  /** Prompt tokens that were remembered from earlier turns and cost nothing. */
  reused: number;
  /** Messages left out because the conversation outgrew the context window. */
  droppedMessages: number;
}

/** Any value that JSON can carry. */
export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
