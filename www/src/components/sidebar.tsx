import { useSignal } from '@preact/signals';
import { run } from '../generate.ts';
import { notify } from '../notices.ts';
import { conversations, currentId, remove, rename, show } from '../state.ts';
import type { Conversation } from '../types.ts';
import { focusComposer, panel } from '../view.ts';
import { Dialog } from './dialog.tsx';
import { Icon, Mark } from './icon.tsx';

function close(): void {
  if (panel.value === 'conversations') panel.value = null;
}

function deleteWithUndo(conversation: Conversation): void {
  if (run.value?.conversationId === conversation.id) run.value.stop();
  const undo = remove(conversation.id);
  if (undo) notify(`“${conversation.title}” was deleted.`, { label: 'Undo', run: undo });
}

function Renaming({ conversation, onDone }: { conversation: Conversation; onDone: () => void }) {
  const title = useSignal(conversation.title);
  const keep = (): void => {
    rename(conversation.id, title.value);
    onDone();
  };
  return (
    <input
      class="rename"
      aria-label="Title of the conversation"
      value={title.value}
      ref={(element) => {
        if (element && document.activeElement !== element) element.select();
      }}
      onInput={(event) => (title.value = event.currentTarget.value)}
      onBlur={keep}
      onKeyDown={(event) => {
        if (event.key === 'Enter') keep();
        if (event.key !== 'Escape') return;
        event.preventDefault();
        event.stopPropagation();
        onDone();
      }}
    />
  );
}

function Entry({ conversation }: { conversation: Conversation }) {
  const renaming = useSignal(false);
  const active = conversation.id === currentId.value;
  if (renaming.value) {
    return (
      <li class="entry">
        <Renaming conversation={conversation} onDone={() => (renaming.value = false)} />
      </li>
    );
  }
  return (
    <li class={active ? 'entry active' : 'entry'}>
      <button
        type="button"
        class="title"
        dir="auto"
        aria-current={active ? 'page' : undefined}
        title={conversation.title}
        onClick={() => {
          show(conversation.id);
          close();
        }}
      >
        {conversation.title}
      </button>
      <span class="entry-actions">
        <button
          type="button"
          class="quiet"
          aria-label={`Rename “${conversation.title}”`}
          title="Rename"
          onClick={() => (renaming.value = true)}
        >
          <Icon name="edit" />
        </button>
        <button
          type="button"
          class="quiet"
          aria-label={`Delete “${conversation.title}”`}
          title="Delete"
          onClick={() => deleteWithUndo(conversation)}
        >
          <Icon name="trash" />
        </button>
      </span>
    </li>
  );
}

export function newChat(): void {
  show(null);
  close();
  focusComposer();
}

function Conversations() {
  const list = conversations.value;
  return (
    <>
      <button type="button" class="new-chat" onClick={newChat}>
        <Icon name="plus" /> New chat
      </button>
      {list.length > 0 ? (
        <ul class="entries">
          {list.map((each) => (
            <Entry key={each.id} conversation={each} />
          ))}
        </ul>
      ) : (
        <p class="hint">Your conversations are listed here, and kept in this browser only.</p>
      )}
    </>
  );
}

/** The list of conversations beside the chat. */
export function Sidebar() {
  return (
    <nav class="sidebar" aria-label="Conversations">
      <p class="brand">
        <Mark /> Inkling
      </p>
      <Conversations />
    </nav>
  );
}

/** The same on a narrow screen, as a sheet. */
export function SidebarSheet() {
  return (
    <Dialog title="Conversations" kind="left" onClose={close}>
      <Conversations />
    </Dialog>
  );
}
