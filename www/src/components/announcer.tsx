import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { SentenceAnnouncer } from '../announce.ts';
import { run, type Run } from '../generate.ts';
import { splitReasoning } from '../markdown/blocks.ts';
import { currentId } from '../state.ts';

const gathering = 400; // milliseconds

const spokenPart = (active: Run): string => splitReasoning(active.text.value).answer;

/** Speaks an answer to screen readers, whole sentences at a time. Nothing of it is seen. */
export function Announcer() {
  const spoken = useSignal('');
  const pending = useRef('');
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const following = useRef<{ run: Run; announcer: SentenceAnnouncer } | null>(null);
  // What comes in quick succession is spoken together: a later change would cut off the one before.
  const speak = (part: string): void => {
    if (!part) return;
    pending.current = `${pending.current} ${part}`.trim();
    timer.current ??= setTimeout(() => {
      spoken.value = pending.current;
      pending.current = '';
      timer.current = undefined;
    }, gathering);
  };
  useSignalEffect(() => {
    const active = run.value;
    const before = following.current;
    if (before && before.run !== active) {
      speak(before.announcer.finish(spokenPart(before.run)));
      following.current = null;
    }
    if (!active || active.conversationId !== currentId.value) return;
    following.current ??= { run: active, announcer: new SentenceAnnouncer() };
    speak(following.current.announcer.push(spokenPart(active)));
  });
  return (
    <div class="visually-hidden" aria-live="polite" aria-atomic="true">
      {spoken.value}
    </div>
  );
}
