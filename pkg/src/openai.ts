// Between OpenAI's shapes (snake_case) and the engine's own (camelCase).
import { invalid, number, text, tokenIds, whole } from './checks.js';
import type {
  ChatCompletion,
  ChatCompletionChunk,
  ChatCompletionParams,
  ChatMessage,
  Completion,
  CompletionChunk,
  CompletionParams,
  InklingDetails,
  SamplingParams,
  Usage,
} from './openai-types.js';
import type { CoreChatRequest, CoreCompletionRequest, CoreSampling, GenerationDone } from './protocol.js';

/** How one kind of answer is put into chunks, and into one whole. */
export interface AnswerShape<Chunk, Whole> {
  /** Comes before any text. */
  opening(): Chunk | undefined;
  piece(text: string): Chunk;
  closing(done: GenerationDone): Chunk;
  whole(text: string, done: GenerationDone): Whole;
}

/** What the engine is asked for a chat. Throws `invalid_request` for content that is not text. */
export function chatRequest(params: ChatCompletionParams): CoreChatRequest {
  if (!Array.isArray(params.messages)) throw invalid('`messages` is not a list.');
  return compact({
    ...sampling(params),
    messages: params.messages.map(coreMessage),
    tools: params.tools,
    templateOptions: params.template_options,
    overflow: params.overflow ?? 'truncate',
    now: localTime(),
  });
}

/** What the engine is asked for a text completion. */
export function completionRequest(params: CompletionParams): CoreCompletionRequest {
  const { prompt } = params;
  const input = typeof prompt === 'string' ? { prompt } : { promptTokens: [...tokenIds('prompt', prompt)] };
  return { ...sampling(params), ...input };
}

/** Answers in the shape of a chat. */
export function chatShape(model: string): AnswerShape<ChatCompletionChunk, ChatCompletion> {
  const head = { id: newId('chatcmpl'), created: now(), model };
  const chunk = (
    delta: ChatCompletionChunk['choices'][0]['delta'],
    finish_reason: ChatCompletionChunk['choices'][0]['finish_reason'] = null,
  ): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, logprobs: null, finish_reason }],
  });
  return {
    opening: () => chunk({ role: 'assistant', content: '' }),
    piece: (content) => chunk({ content }),
    closing: (done) => ({ ...chunk({}, done.finishReason), ...statistics(done) }),
    whole: (content, done) => ({
      ...head,
      object: 'chat.completion',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content, refusal: null },
          logprobs: null,
          finish_reason: done.finishReason,
        },
      ],
      ...statistics(done),
    }),
  };
}

/** Answers in the shape of a text completion. */
export function completionShape(model: string): AnswerShape<CompletionChunk, Completion> {
  const head = { id: newId('cmpl'), object: 'text_completion', created: now(), model } as const;
  return {
    opening: () => undefined,
    piece: (text) => ({ ...head, choices: [{ index: 0, text, logprobs: null, finish_reason: null }] }),
    closing: (done) => ({
      ...head,
      choices: [{ index: 0, text: '', logprobs: null, finish_reason: done.finishReason }],
      ...statistics(done),
    }),
    whole: (text, done) => ({
      ...head,
      choices: [{ index: 0, text, logprobs: null, finish_reason: done.finishReason }],
      ...statistics(done),
    }),
  };
}

function sampling(params: SamplingParams): CoreSampling {
  const { stop } = params;
  return compact({
    temperature: number('temperature', params.temperature),
    topK: whole('top_k', params.top_k),
    topP: number('top_p', params.top_p),
    minP: number('min_p', params.min_p),
    repetitionPenalty: number('repetition_penalty', params.repetition_penalty),
    repetitionWindow: whole('repetition_window', params.repetition_window, -1),
    frequencyPenalty: number('frequency_penalty', params.frequency_penalty),
    presencePenalty: number('presence_penalty', params.presence_penalty),
    logitBias: params.logit_bias,
    seed: whole('seed', params.seed) ?? randomSeed(),
    stop: (typeof stop === 'string' ? [stop] : stop)?.map((each) => text('stop', each)),
    maxTokens: whole('max_tokens', params.max_tokens),
    ignoreEos: params.ignore_eos,
    ignoreCache: params.ignore_cache,
  });
}

/** Chat templates expect text as content, also where a message only calls a tool; `developer` is a newer `system`. */
function coreMessage(message: ChatMessage): object {
  const role = message.role === 'developer' ? 'system' : message.role;
  return { ...message, role, content: textOf(message) };
}

function textOf({ content }: ChatMessage): string {
  if (typeof content === 'string') return content;
  if (content === null || content === undefined) return '';
  return content
    .map((part) => {
      if (part.type !== 'text') {
        throw invalid(`Content of type "${String(part.type)}" is not understood; only text is.`);
      }
      return part.text;
    })
    .join('');
}

function statistics({ usage, timings, droppedMessages, contextUsed }: GenerationDone): {
  usage: Usage;
  inkling: InklingDetails;
} {
  return {
    usage: {
      prompt_tokens: usage.promptTokens,
      completion_tokens: usage.completionTokens,
      total_tokens: usage.promptTokens + usage.completionTokens,
      prompt_tokens_details: { cached_tokens: usage.reusedTokens },
    },
    inkling: {
      timings: {
        ttft_ms: timings.ttftMs,
        prefill_ms: timings.prefillMs,
        decode_ms: timings.decodeMs,
        prefill_tps: timings.prefillTps,
        decode_tps: timings.decodeTps,
      },
      dropped_messages: droppedMessages,
      context_used: contextUsed,
    },
  };
}

/** The object without its null and undefined entries. */
function compact<T extends object>(entries: T): { [K in keyof T]: NonNullable<T[K]> } {
  const kept = Object.entries(entries).filter(([, value]) => value !== null && value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: NonNullable<T[K]> };
}

function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
}

function newId(prefix: string): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `${prefix}-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** What the clock on the wall shows: `2026-07-04T13:05:09`. */
function localTime(): string {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function now(): number {
  return Math.floor(Date.now() / 1000);
}
