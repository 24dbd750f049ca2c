import { useComputed } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { retry, run, type Run } from '../generate.ts';
import { splitReasoning } from '../markdown/blocks.ts';
import { Markdown } from '../markdown/markdown.tsx';
import { WetInk } from '../markdown/wet-ink.ts';
import type { Message } from '../types.ts';
import { panel } from '../view.ts';
import { send } from './composer.tsx';
import { CopyButton } from './copy.tsx';
import { Icon } from './icon.tsx';

function Prose({ text }: { text: string }) {
  const { reasoning, answer, open } = splitReasoning(text);
  return (
    <>
      {reasoning !== null && (
        <details class="reasoning" open={open}>
          <summary>{open ? 'Reasoning…' : 'Its reasoning'}</summary>
          <Markdown text={reasoning} />
        </details>
      )}
      <Markdown text={answer} />
    </>
  );
}

function Reading({ active }: { active: Run }) {
  const prefill = active.prefill.value;
  if (active.phase.value === 'waiting') return <p class="aside">Waiting for the model…</p>;
  // Short prompts are read in a moment; saying so would only flicker.
  if (!prefill || prefill.total < 64) return <p class="thinking" aria-hidden="true" />;
  return (
    <p class="aside reading">
      <progress max={prefill.total} value={prefill.done} aria-label="Reading the conversation" />
      Reading the conversation, {prefill.done.toLocaleString('en')} of {prefill.total.toLocaleString('en')}{' '}
      tokens
    </p>
  );
}

/** An answer while it is being written. */
function Live({ active }: { active: Run }) {
  const root = useRef<HTMLDivElement>(null);
  const ink = useRef<WetInk>(undefined);
  const writing = useComputed(() => active.phase.value === 'writing');
  const text = active.text.value;
  useLayoutEffect(() => {
    if (!root.current) return;
    ink.current ??= new WetInk(root.current);
    ink.current.grow(text.length);
  }, [text]);
  useEffect(() => () => ink.current?.close(), []);
  return (
    <>
      {!writing.value && <Reading active={active} />}
      <div ref={root} class={writing.value ? 'prose live' : 'prose'}>
        <Prose text={text} />
      </div>
    </>
  );
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

/** What has to be said about how an answer ended, or about what the model could not see any more. */
function Remarks({ message, last }: { message: Message; last: boolean }) {
  const { end, facts, trouble } = message;
  const full = facts && facts.contextUsed >= facts.contextLength - 1;
  return (
    <>
      {trouble && (
        <div class="trouble" role={last ? 'alert' : undefined}>
          <p>
            <strong>{trouble.title}</strong> {trouble.advice}
          </p>
          {trouble.detail && (
            <details>
              <summary>Details</summary>
              <p class="detail">
                {trouble.detail} ({trouble.code})
              </p>
            </details>
          )}
          {trouble.code === 'disposed' && (
            <button type="button" class="plain" onClick={() => (panel.value = 'models')}>
              Open a model
            </button>
          )}
        </div>
      )}
      {end === 'length' && (
        <p class="aside">
          {full
            ? 'The context is full, so the answer ends here.'
            : 'The answer reached the length you allow.'}
          {last && !run.value && (
            <button type="button" class="link" onClick={() => send('Please go on.')}>
              Ask it to go on
            </button>
          )}
        </p>
      )}
      {end === 'cancelled' && <p class="aside">Stopped.</p>}
      {end === 'interrupted' && <p class="aside">Cut off when the page closed.</p>}
      {facts && facts.dropped > 0 && (
        <p class="aside">
          The oldest {plural(facts.dropped, 'message')} no longer fitted into the model’s context; this answer
          was written without {facts.dropped === 1 ? 'it' : 'them'}.
        </p>
      )}
    </>
  );
}

interface Props {
  conversationId: string;
  message: Message;
  last: boolean;
}

/** What the model wrote. */
export function Reply({ conversationId, message, last }: Props) {
  const active = run.value;
  if (active?.messageId === message.id) return <Live active={active} />;
  const { facts } = message;
  return (
    <>
      {message.content && (
        <div class="prose">
          <Prose text={message.content} />
        </div>
      )}
      <Remarks message={message} last={last} />
      <div class="actions">
        {message.content && <CopyButton text={() => message.content} label="Copy this answer" />}
        <button
          type="button"
          class="quiet"
          disabled={active !== null}
          onClick={() => retry(conversationId, message.id)}
          aria-label="Write another answer"
          title={last ? 'Write another answer' : 'Write another answer; what follows goes'}
        >
          <Icon name="retry" />
        </button>
        <span class="facts">
          {message.model}
          {facts && facts.tokens > 0 && `, ${plural(facts.tokens, 'token')}`}
        </span>
      </div>
    </>
  );
}
