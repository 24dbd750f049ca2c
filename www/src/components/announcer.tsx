import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { SentenceAnnouncer } from '../announce.ts';
import { run } from '../generate.ts';
import { splitReasoning } from '../markdown/blocks.ts';
import { currentId } from '../state.ts';

/** Speaks an answer to screen readers, whole sentences at a time. Nothing of it is seen. */
export function Announcer() {
  const spoken = useSignal('');
  const following = useRef<{ id: string; text: string; announcer: SentenceAnnouncer } | null>(null);
  useSignalEffect(() => {
    const active = run.value;
    const before = following.current;
    if (before && before.id !== active?.messageId) {
      spoken.value = before.announcer.finish(before.text) || spoken.peek();
      following.current = null;
    }
    if (!active || active.conversationId !== currentId.value) return;
    following.current ??= { id: active.messageId, text: '', announcer: new SentenceAnnouncer() };
    const state = following.current;
    state.text = splitReasoning(active.text.value).answer;
    const part = state.announcer.push(state.text);
    if (part) spoken.value = part;
  });
  return (
    <div class="visually-hidden" aria-live="polite" aria-atomic="true">
      {spoken.value}
    </div>
  );
}
