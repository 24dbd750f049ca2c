// Writing an answer: from the conversation to the engine, and from its stream to the page, once per frame.
import { effect, signal, type Signal } from '@preact/signals';
import type { ChatCompletionChunk, ChatMessage, PrefillProgress } from 'inkling-llm';
import { expectingModel, model, reopen, type OpenModel } from './engine.ts';
import { codeOf, describe } from './errors.ts';
import { FrameGate } from './frame.ts';
import { keepCutOff, saveConversation } from './history.ts';
import { seedOf, settings } from './settings.ts';
import { dropFrom, find, newId, update, updateMessage } from './state.ts';
import type { AnswerFacts, Ending, Message, Trouble } from './types.ts';

/** An answer that is being written. */
export interface Run {
  conversationId: string;
  messageId: string;
  /** `waiting` for the model, `reading` the conversation, `writing` the answer. */
  phase: Signal<'waiting' | 'reading' | 'writing'>;
  text: Signal<string>;
  prefill: Signal<PrefillProgress | null>;
  tokens: Signal<number>;
  /** Tokens per second so far. */
  speed: Signal<number>;
  stop(): void;
}

/** The one answer that is being written, if any. */
export const run = signal<Run | null>(null);

const saveEvery = 500; // milliseconds

function readyModel(signal: AbortSignal): Promise<OpenModel | null> {
  return new Promise((resolve) => {
    let dispose = (): void => {};
    const settle = (value: OpenModel | null): void => {
      resolve(value);
      queueMicrotask(() => dispose());
    };
    signal.addEventListener('abort', () => settle(null), { once: true });
    dispose = effect(() => {
      if (model.value) settle(model.value);
      else if (!expectingModel.value) settle(null);
    });
  });
}

function toRequest(messages: readonly Message[]): ChatMessage[] {
  const result: ChatMessage[] = [];
  const system = settings.value.systemPrompt.trim();
  if (system) result.push({ role: 'system', content: system });
  for (const { role, content, trouble } of messages) {
    const last = result.at(-1);
    // An answer that was stopped before its first word leaves two questions in a row, which many templates refuse. One that
    // was too long would be so again.
    if (trouble?.code === 'context_full' && !content && last?.role === 'user') result.pop();
    else if (role === 'user' && last?.role === 'user') last.content += `\n\n${content}`;
    else if (role === 'user' || content) result.push({ role, content });
  }
  return result;
}

function sampling() {
  const s = settings.value;
  return {
    temperature: s.temperature,
    top_k: s.topK,
    top_p: s.topP,
    min_p: s.minP,
    repetition_penalty: s.repetitionPenalty,
    frequency_penalty: s.frequencyPenalty,
    presence_penalty: s.presencePenalty,
    ...(s.maxTokens > 0 && { max_tokens: s.maxTokens }),
    seed: seedOf(s.seed),
  };
}

/** Writes the next answer of a conversation. Waits for the model if it is still loading. */
export async function answer(conversationId: string): Promise<void> {
  if (run.value || !find(conversationId)) return;
  const question = find(conversationId)!.messages;
  const message: Message = { id: newId(), role: 'assistant', content: '', createdAt: Date.now() };
  update(conversationId, (each) => ({ ...each, messages: [...each.messages, message] }));

  const abort = new AbortController();
  const state: Run = {
    conversationId,
    messageId: message.id,
    phase: signal('waiting'),
    text: signal(''),
    prefill: signal(null),
    tokens: signal(0),
    speed: signal(0),
    stop: () => abort.abort(),
  };
  run.value = state;

  const writer = new Writer(state);
  let end: Ending = 'error';
  let trouble: Trouble | undefined;
  let open: OpenModel | null = null;
  try {
    open = await readyModel(abort.signal);
    if (abort.signal.aborted) end = 'cancelled';
    else if (!open) trouble = noModel;
    else end = await stream(open, question, state, writer, abort.signal);
  } catch (error) {
    if (codeOf(error) === 'aborted' || abort.signal.aborted) end = 'cancelled';
    else trouble = describe(error);
    if (trouble?.code === 'worker_failed') {
      trouble.advice = 'It is being opened again; then ask once more.';
      void reopen();
    }
  }
  writer.close();
  updateMessage(conversationId, message.id, {
    content: writer.text,
    end,
    ...(open && { model: open.name, facts: writer.facts(open) }),
    ...(trouble && { trouble }),
  });
  run.value = null;
}

async function stream(
  open: OpenModel,
  messages: readonly Message[],
  state: Run,
  writer: Writer,
  signal: AbortSignal,
): Promise<Ending> {
  state.phase.value = 'reading';
  const chunks = open.engine.chat.completions.create({
    messages: toRequest(messages),
    stream: true,
    overflow: 'truncate',
    ...sampling(),
    onPrefill: (progress) => {
      // Later a lost GPU was replaced, and reads the answer too.
      if (!writer.text) state.prefill.value = progress;
    },
  });
  // `stop()` rather than the signal: it ends the stream with a last chunk that has the figures.
  const stop = (): void => chunks.stop();
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  let end: Ending = 'error';
  try {
    for await (const chunk of chunks) {
      writer.take(chunk);
      end = chunk.choices[0].finish_reason ?? end;
    }
  } finally {
    signal.removeEventListener('abort', stop);
  }
  return end;
}

/** Collects an answer, shows it once per frame and saves it twice a second and when the page closes or is hidden. */
class Writer {
  text = '';
  #tokens = 0;
  #firstAt = 0;
  #saved = 0;
  #last: ChatCompletionChunk | undefined;
  readonly #state: Run;
  readonly #gate: FrameGate;
  readonly #saver: ReturnType<typeof setInterval>;

  constructor(state: Run) {
    this.#state = state;
    this.#gate = new FrameGate(() => this.#show());
    this.#saver = setInterval(() => this.#save(), saveEvery);
    window.addEventListener('pagehide', this.#keep);
    // A phone may end a page that it has put to sleep, without another word to it.
    document.addEventListener('visibilitychange', this.#keep);
  }

  #keep = (): void => keepCutOff(this.#state.messageId, this.text);

  #save(): void {
    if (this.text.length === this.#saved) return;
    this.#saved = this.text.length;
    const { conversationId, messageId, stop } = this.#state;
    const conversation = find(conversationId);
    if (!conversation) return stop(); // It was deleted meanwhile.
    const messages = conversation.messages.map((each) =>
      each.id === messageId ? { ...each, content: this.text } : each,
    );
    void saveConversation({ ...conversation, messages });
  }

  take(chunk: ChatCompletionChunk): void {
    if (chunk.inkling) this.#last = chunk;
    const piece = chunk.choices[0].delta.content ?? '';
    if (chunk.choices[0].finish_reason === null) {
      this.#firstAt ||= performance.now();
      this.#tokens += 1;
    }
    this.text += piece;
    this.#gate.request();
  }

  #show(): void {
    const state = this.#state;
    const seconds = (performance.now() - this.#firstAt) / 1000;
    if (this.text) state.phase.value = 'writing';
    state.text.value = this.text;
    state.tokens.value = this.#tokens;
    if (this.#tokens > 4 && seconds > 0.1) state.speed.value = (this.#tokens - 1) / seconds;
  }

  close(): void {
    clearInterval(this.#saver);
    window.removeEventListener('pagehide', this.#keep);
    document.removeEventListener('visibilitychange', this.#keep);
    this.#gate.cancel();
    this.#show();
  }

  facts(open: OpenModel): AnswerFacts {
    const details = this.#last?.inkling;
    return {
      tokens: this.#last?.usage?.completion_tokens ?? this.#tokens,
      speed: details?.timings.decode_tps ?? this.#state.speed.value,
      contextUsed: details?.context_used ?? 0,
      contextLength: open.info.contextLength,
      dropped: details?.dropped_messages ?? this.#state.prefill.value?.droppedMessages ?? 0,
    };
  }
}

const noModel: Trouble = {
  code: 'disposed',
  title: 'No model is open.',
  advice: 'Open a model, then try again.',
};

/** Writes another answer in place of this one. */
export function retry(conversationId: string, messageId: string): void {
  if (run.value) return;
  dropFrom(conversationId, messageId);
  void answer(conversationId);
}
