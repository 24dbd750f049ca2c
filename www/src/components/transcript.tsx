import { useSignal } from '@preact/signals';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { run } from '../generate.ts';
import { current } from '../state.ts';
import type { Conversation } from '../types.ts';
import { Icon } from './icon.tsx';
import { Question } from './question.tsx';
import { Reply } from './reply.tsx';
import { Welcome } from './welcome.tsx';

function Turns({ conversation }: { conversation: Conversation }) {
  const { messages } = conversation;
  return (
    <ol class="turns">
      {messages.map((message, index) => (
        <li key={message.id} class={`turn ${message.role}`}>
          <h2 class="visually-hidden">{message.role === 'user' ? 'You wrote' : 'The model answered'}</h2>
          {message.role === 'user' ? (
            <Question conversationId={conversation.id} message={message} />
          ) : (
            <Reply conversationId={conversation.id} message={message} last={index === messages.length - 1} />
          )}
        </li>
      ))}
    </ol>
  );
}

const nearEnd = 64; // pixels

/** The conversation. Follows an answer that is being written as long as the reader is at the end. */
export function Transcript() {
  const scroller = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  const away = useSignal(false);
  const conversation = current.value;
  const count = conversation?.messages.length ?? 0;

  const toEnd = (): void => {
    const box = scroller.current;
    if (box) box.scrollTop = count > 0 ? box.scrollHeight : 0;
    following.current = true;
    away.value = false;
  };

  // A conversation opens at its end; a new message brings the end into view.
  useLayoutEffect(toEnd, [conversation?.id, count]);

  useEffect(() => {
    const box = scroller.current;
    const inner = box?.firstElementChild;
    if (!box || !inner) return;
    const observer = new ResizeObserver(() => {
      if (following.current && current.peek()) box.scrollTop = box.scrollHeight;
      else away.value = box.scrollHeight - box.scrollTop - box.clientHeight > nearEnd;
    });
    observer.observe(inner);
    observer.observe(box);
    return () => observer.disconnect();
  }, []);

  const onScroll = (): void => {
    const box = scroller.current;
    if (!box) return;
    const left = box.scrollHeight - box.scrollTop - box.clientHeight;
    if (left <= nearEnd) following.current = true;
    else if (box.scrollTop < lastTop.current) following.current = false; // Only the reader scrolls up.
    lastTop.current = box.scrollTop;
    away.value = !following.current && left > nearEnd;
  };

  return (
    <main id="conversation" tabIndex={-1} aria-label="Conversation" class="conversation">
      <div
        ref={scroller}
        class="scroller"
        onScroll={onScroll}
        tabIndex={0}
        role="group"
        aria-label="Messages"
      >
        <div class="column" role="log" aria-live="off" aria-busy={run.value !== null} aria-label="Messages">
          {conversation ? <Turns conversation={conversation} /> : <Welcome />}
        </div>
      </div>
      {away.value && conversation && (
        <button type="button" class="latest" onClick={toEnd}>
          <Icon name="down" /> Jump to latest
        </button>
      )}
    </main>
  );
}
