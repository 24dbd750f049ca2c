import { useSignal } from '@preact/signals';
import { answer, run } from '../generate.ts';
import { editQuestion } from '../state.ts';
import type { Message } from '../types.ts';
import { focusComposer } from '../view.ts';
import { useAutoHeight } from './composer.tsx';
import { Icon } from './icon.tsx';

interface EditorProps {
  text: string;
  onSave: (text: string) => void;
  onCancel: () => void;
}

function Editor({ text, onSave, onCancel }: EditorProps) {
  const draft = useSignal(text);
  const box = useAutoHeight(draft.value);
  const focus = (element: HTMLTextAreaElement | null): void => {
    if (element && box.current !== element) {
      box.current = element;
      element.focus();
      element.setSelectionRange(element.value.length, element.value.length);
    }
  };
  const save = (): void => {
    if (draft.value.trim()) onSave(draft.value.trim());
  };
  return (
    <div class="editor">
      <textarea
        ref={focus}
        rows={1}
        dir="auto"
        aria-label="Edit your message"
        value={draft.value}
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') {
            event.stopPropagation();
            onCancel();
          } else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            save();
          }
        }}
      />
      <p class="hint">What follows this message is replaced by a new answer.</p>
      <div class="row">
        <button type="button" class="solid" onClick={save} disabled={!draft.value.trim()}>
          Save and answer
        </button>
        <button type="button" class="plain" onClick={onCancel}>
          Cancel
        </button>
      </div>
    </div>
  );
}

/** What the reader wrote. */
export function Question({ conversationId, message }: { conversationId: string; message: Message }) {
  const editing = useSignal(false);
  const busy = run.value !== null;
  if (editing.value && !busy) {
    const close = (): void => {
      editing.value = false;
      focusComposer();
    };
    return (
      <Editor
        text={message.content}
        onCancel={close}
        onSave={(text) => {
          close();
          editQuestion(conversationId, message.id, text);
          void answer(conversationId);
        }}
      />
    );
  }
  const long = message.content.length > 220 || message.content.includes('\n');
  return (
    <div class="question">
      <p dir="auto" class={long ? 'asked long' : 'asked'}>
        {message.content}
      </p>
      <div class="actions">
        <button
          type="button"
          class="quiet"
          disabled={busy}
          onClick={() => (editing.value = true)}
          aria-label="Edit this message"
          title="Edit and go on from here"
        >
          <Icon name="edit" />
        </button>
      </div>
    </div>
  );
}
