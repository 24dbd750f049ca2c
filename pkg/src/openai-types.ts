// Shapes of OpenAI's chat and completion interfaces, as far as one local model can fill them, plus fields of ours:
// sampling options that OpenAI lacks, and `inkling` in answers.
import type { JsonValue, PrefillProgress } from './types.js';

/** A piece of a message's content; only text is understood. */
export interface TextPart {
  type: 'text';
  text: string;
}

/** A call of a tool, in an assistant's message. */
export interface ToolCall {
  id: string;
  type: 'function';
  function: { name: string; arguments: string };
}

/** A tool offered to the model, for chat templates that know tools. */
export interface ToolDefinition {
  type: 'function';
  function: { name: string; description?: string; parameters?: { [key: string]: JsonValue } };
}

/** One turn of a conversation. */
export type ChatMessage =
  | { role: 'system' | 'developer' | 'user'; content: string | readonly TextPart[]; name?: string }
  | { role: 'assistant'; content?: string | readonly TextPart[] | null; tool_calls?: readonly ToolCall[] }
  | { role: 'tool'; content: string | readonly TextPart[]; tool_call_id: string };

/** How the next token is chosen, and when to stop. */
export interface SamplingParams {
  /** 0 always takes the likeliest token; higher is more varied. Default: 0.8. */
  temperature?: number | null | undefined;
  /** Keep only that many of the likeliest tokens; 0 keeps all. Default: 40. */
  top_k?: number | null | undefined;
  /** Keep the likeliest tokens that together have this probability. Default: 0.95. */
  top_p?: number | null | undefined;
  /** Drop tokens less likely than this share of the likeliest one. Default: 0.05. */
  min_p?: number | null | undefined;
  /** Above 1: tokens that came lately become less likely. Default: 1 (off). */
  repetition_penalty?: number | null | undefined;
  /** How many of the last tokens the penalties look at. Default: 64. */
  repetition_window?: number | null | undefined;
  /** Subtracted from a token's score for each time it came already. Default: 0. */
  frequency_penalty?: number | null | undefined;
  /** Subtracted once from the score of each token that came already. Default: 0. */
  presence_penalty?: number | null | undefined;
  /** Token id → number added to its score. */
  logit_bias?: Readonly<Record<string, number>> | null | undefined;
  /** Same seed, same model, same request: same text. Default: a new one each time. */
  seed?: number | null | undefined;
  /** Text that ends the answer; it is not part of it. */
  stop?: string | readonly string[] | null | undefined;
  /** Most tokens to write. Default: until the model ends its turn or the context is full. */
  max_tokens?: number | null | undefined;
  /** Go on past the model's end-of-turn token, for measurements. Default: false. */
  ignore_eos?: boolean | null | undefined;
  /** Run the whole prompt again rather than what is new since the last one; for measurements. */
  ignore_cache?: boolean | null | undefined;
}

/** Options of a request that are not part of what the model sees. */
export interface RequestOptions {
  /** Stops the answer; the promise or the stream rejects with code `aborted`. */
  signal?: AbortSignal | undefined;
  /** Called while the prompt is being read, before the first token. */
  onPrefill?: ((progress: PrefillProgress) => void) | undefined;
}

/** What to answer, and how. */
export interface ChatCompletionParams extends SamplingParams, RequestOptions {
  /** The conversation so far. */
  messages: readonly ChatMessage[];
  /** `true`: an async iterable of chunks instead of a promise of the whole. */
  stream?: boolean | null | undefined;
  /** Tools, handed to the chat template. The model's call comes back as plain text. */
  tools?: readonly ToolDefinition[] | undefined;
  /** More variables for the chat template, `enable_thinking` for example. */
  template_options?: { readonly [key: string]: JsonValue } | undefined;
  /**
   * What to do with a conversation that outgrew the context window: `truncate` (default) leaves out the oldest
   * turns and keeps the system prompt; `error` rejects with code `context_full`.
   */
  overflow?: 'truncate' | 'error' | undefined;
}

/** What to continue, and how. */
export interface CompletionParams extends SamplingParams, RequestOptions {
  /** Text, or token ids, that the model goes on from. */
  prompt: string | readonly number[] | Uint32Array;
  /** `true`: an async iterable of chunks instead of a promise of the whole. */
  stream?: boolean | null | undefined;
}

/**
 * Why the text ended: `stop` (end of turn or a stop string), `length` (`max_tokens` or the context is full),
 * `cancelled` (the stream's `stop()` was called).
 */
export type FinishReason = 'stop' | 'length' | 'cancelled';

/** Tokens read and written. */
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** `cached_tokens`: prompt tokens remembered from earlier turns. */
  prompt_tokens_details: { cached_tokens: number };
}

/** How fast it went. */
export interface Timings {
  /** Milliseconds from the start of the work to the first token. */
  ttft_ms: number;
  /** Milliseconds spent reading the prompt. */
  prefill_ms: number;
  /** Milliseconds spent writing. */
  decode_ms: number;
  /** Prompt tokens read per second. */
  prefill_tps: number;
  /** Tokens written per second. */
  decode_tps: number;
}

/** What we tell beyond OpenAI's fields. */
export interface InklingDetails {
  timings: Timings;
  /** Messages left out because the conversation outgrew the context window. */
  dropped_messages: number;
  /** Tokens in the context window now; compare with `engine.info.contextLength`. */
  context_used: number;
}

/** A whole answer. */
export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  /** Unix time in seconds. */
  created: number;
  /** The model's name. */
  model: string;
  choices: [ChatCompletionChoice];
  usage: Usage;
  inkling: InklingDetails;
}

/** The one answer in a `ChatCompletion`. */
export interface ChatCompletionChoice {
  index: 0;
  message: { role: 'assistant'; content: string; refusal: null };
  logprobs: null;
  finish_reason: FinishReason;
}

/** A piece of an answer as it is written. The last one has `finish_reason`, `usage` and `inkling`. */
export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  /** Unix time in seconds. */
  created: number;
  /** The model's name. */
  model: string;
  choices: [ChatCompletionChunkChoice];
  usage?: Usage;
  inkling?: InklingDetails;
}

/** The piece of the one answer in a `ChatCompletionChunk`. */
export interface ChatCompletionChunkChoice {
  index: 0;
  delta: { role?: 'assistant'; content?: string };
  logprobs: null;
  finish_reason: FinishReason | null;
}

/** A whole text completion; as a piece of a stream, `Completion` with `finish_reason` null until the last. */
export interface Completion {
  id: string;
  object: 'text_completion';
  /** Unix time in seconds. */
  created: number;
  /** The model's name. */
  model: string;
  choices: [CompletionChoice<FinishReason>];
  usage: Usage;
  inkling: InklingDetails;
}

/** A piece of a text completion as it is written. The last one has `finish_reason`, `usage` and `inkling`. */
export interface CompletionChunk {
  id: string;
  object: 'text_completion';
  /** Unix time in seconds. */
  created: number;
  /** The model's name. */
  model: string;
  choices: [CompletionChoice<FinishReason | null>];
  usage?: Usage;
  inkling?: InklingDetails;
}

/** The one text in a `Completion` or `CompletionChunk`. */
export interface CompletionChoice<Reason> {
  index: 0;
  text: string;
  logprobs: null;
  finish_reason: Reason;
}
