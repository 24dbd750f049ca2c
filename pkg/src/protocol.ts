// What the page and the worker say to each other: the only wire format, and with `errors.ts` all they share. Every Request but `cancel` gets exactly one
// closing Event (`result` or `error`) with its id.
import type { WireError } from './errors.js';
import type { Backend, DownloadOptions, LoadProgress, ModelInfo } from './types.js';

/** One piece of a model as it travels to the worker: an absolute address, or bytes that are cheap to clone. */
export type SourceSpec = { kind: 'url'; url: string } | { kind: 'blob'; blob: Blob };

/** Load options that the wasm module reads. */
export interface CoreLoadOptions {
  contextLength?: number;
  backend?: Backend;
  gpuVerdict?: string;
  kvType?: 'f16' | 'f32' | 'q8_0';
  vocabOnly?: boolean;
  preTokenizer?: string;
  chatTemplate?: string;
}

/** Sampling fields of both kinds of generation. */
export interface CoreSampling {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  repetitionWindow?: number;
  frequencyPenalty?: number;
  presencePenalty?: number;
  logitBias?: Readonly<Record<string, number>>;
  seed?: number;
  stop?: readonly string[];
  maxTokens?: number;
  ignoreEos?: boolean;
  ignoreCache?: boolean;
}

/** A request that the chat template turns into a prompt. */
export interface CoreChatRequest extends CoreSampling {
  messages: readonly object[];
  tools?: readonly object[];
  templateOptions?: object;
  overflow?: 'truncate' | 'error';
  /** Local time for templates that tell the model the date. */
  now?: string;
}

/** A request whose prompt is given as it is. */
export interface CoreCompletionRequest extends CoreSampling {
  prompt?: string;
  promptTokens?: number[];
}

/** A text to embed. */
export type CoreText = { text: string } | { tokens: number[] };

/** How to embed it. */
export interface CoreEmbedding {
  dimensions?: number;
  truncate: boolean;
  pooling?: 'mean' | 'cls' | 'last';
  raw?: boolean;
}

/** What one step of a generation gave. */
export type GenerationEvent =
  | { type: 'prefill'; done: number; total: number; reused: number; droppedMessages: number }
  | { type: 'token'; id: number; text: string }
  | GenerationDone;

/** The end of a generation. */
export interface GenerationDone {
  type: 'done';
  finishReason: 'stop' | 'length' | 'cancelled';
  /** Text held back until now. */
  text: string;
  usage: { promptTokens: number; completionTokens: number; reusedTokens: number };
  droppedMessages: number;
  timings: { ttftMs: number; prefillTps: number; decodeTps: number; prefillMs: number; decodeMs: number };
  contextUsed: number;
}

/** What the page asks for, by kind. */
export interface Calls {
  load: {
    sources: SourceSpec[];
    options: CoreLoadOptions;
    download: DownloadOptions;
    /** Address of the wasm module; the worker knows its own when absent. */
    wasmUrl?: string;
    /** Threads asked for. */
    threads?: number;
  };
  chat: { request: CoreChatRequest };
  completion: { request: CoreCompletionRequest };
  tokenize: { text: string; addSpecial: boolean; parseSpecial: boolean };
  detokenize: { tokens: Uint32Array; skipSpecial: boolean };
  logits: { tokens: Uint32Array; source?: Uint32Array };
  embed: { texts: CoreText[]; options: CoreEmbedding };
  rank: { query: string; documents: string[]; truncate: boolean };
  renderTemplate: { template: string; context: string };
  dispose: object;
}

/** What the worker answers, by kind of call. */
export interface Results {
  load: ModelInfo;
  chat: undefined;
  completion: undefined;
  tokenize: Uint32Array;
  detokenize: string;
  logits: Float32Array;
  embed: { vectors: Float32Array[]; tokens: number };
  rank: { scores: number[]; tokens: number };
  renderTemplate: string;
  dispose: undefined;
}

/** Names of the calls. */
export type CallKind = keyof Calls;

/** A call of one kind as it travels. */
export type RequestOf<K extends CallKind> = { [P in K]: { kind: P; id: number } & Calls[P] }[K];

/** Page → worker. `cancel` names the id of another request; it is harmless when that one has ended. */
export type Request = RequestOf<CallKind> | { kind: 'cancel'; id: number };

/** Worker → page. */
export type Event =
  | { kind: 'progress'; id: number; progress: LoadProgress }
  | { kind: 'texts'; id: number; done: number; total: number }
  | { kind: 'generation'; id: number; events: GenerationEvent[] }
  /** What is known of the model has changed: another backend computes. Belongs to no request. */
  | { kind: 'info'; info: ModelInfo }
  /** How far the replacement of a lost GPU has come; null when that is over. Belongs to no request either. */
  | { kind: 'recovery'; progress: LoadProgress | null }
  | { kind: 'result'; id: number; value: Results[CallKind] }
  | { kind: 'error'; id: number; error: WireError };
