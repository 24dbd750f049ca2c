import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { answer, run } from '../generate.ts';
import { addQuestion, currentId, find, show } from '../state.ts';
import { Icon } from './icon.tsx';
import { Meter } from './meter.tsx';

/** Makes a text box as high as its text. */
export function useAutoHeight(text: string) {
  const ref = useRef<HTMLTextAreaElement>(null);
  const fit = (): void => {
    const box = ref.current;
    if (!box) return;
    box.style.height = 'auto';
    box.style.height = `${box.scrollHeight}px`;
  };
  useLayoutEffect(fit, [text]);
  // Its lines break elsewhere when a phone is turned, and WebKit may draw the page once before its styles are there.
  useEffect(() => {
    let width = 0;
    const observer = new ResizeObserver(([entry]) => {
      if (!entry || entry.contentRect.width === width) return;
      width = entry.contentRect.width;
      requestAnimationFrame(fit);
    });
    if (ref.current) observer.observe(ref.current);
    return () => observer.disconnect();
  }, []);
  return ref;
}

/** Sends a text as the reader's next message; false while another answer is being written. */
export function send(text: string): boolean {
  if (run.value || !text.trim()) return false;
  void answer(addQuestion(text.trim()));
  return true;
}

function SendOrStop({ empty }: { empty: boolean }) {
  const active = run.value;
  if (!active) {
    return (
      <button type="submit" class="send" disabled={empty} aria-label="Send" title="Send (Enter)">
        <Icon name="send" />
      </button>
    );
  }
  return (
    <button type="button" class="send" onClick={() => active.stop()} aria-label="Stop" title="Stop (Escape)">
      <Icon name="stop" />
    </button>
  );
}

/** Says so when the answer being written belongs to a conversation that is not shown. */
function Elsewhere() {
  const active = run.value;
  if (!active || active.conversationId === currentId.value) return null;
  const other = find(active.conversationId);
  if (!other) return null;
  return (
    <p class="aside">
      An answer is being written in{' '}
      <button type="button" class="link" onClick={() => show(other.id)}>
        {other.title}
      </button>
      .
    </p>
  );
}

/** Where the reader writes. */
export function Composer() {
  const text = useSignal('');
  const box = useAutoHeight(text.value);
  const submit = (): void => {
    if (send(text.value)) text.value = '';
  };
  return (
    <form
      class="composer"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Elsewhere />
      <div class="writing-line">
        <label for="composer-input" class="visually-hidden">
          Message
        </label>
        <textarea
          id="composer-input"
          ref={box}
          rows={1}
          dir="auto"
          value={text.value}
          placeholder="Write something…"
          enterkeyhint="send"
          autocomplete="off"
          onInput={(event) => (text.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            submit();
          }}
        />
        <SendOrStop empty={!text.value.trim()} />
      </div>
      <Meter />
    </form>
  );
}
