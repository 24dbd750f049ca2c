// Conversations: what is in memory, which one is shown, and every change to them. Each change makes new objects,
// so that a view can compare by identity, and is saved.
import { computed, signal } from '@preact/signals';
import {
  loadConversations,
  removeConversation,
  saveConversation,
  takeCutOff,
  type Change,
} from './history.ts';
import type { Conversation, Message } from './types.ts';

const currentKey = 'inkling.current';

/** All conversations, the latest first. */
export const conversations = signal<readonly Conversation[]>([]);
/** Id of the one that is shown; null: a new chat that has no message yet. */
export const currentId = signal<string | null>(null);
/** The one that is shown. */
export const current = computed(
  () => conversations.value.find((each) => each.id === currentId.value) ?? null,
);

/** Not by `randomUUID`, which pages without HTTPS do not have. */
export const newId = (): string =>
  [...crypto.getRandomValues(new Uint32Array(4))].map((word) => word.toString(36)).join('-');

export function find(id: string): Conversation | undefined {
  return conversations.value.find((each) => each.id === id);
}

/** First line of a text, cut at a word, as a title. */
export function titleFrom(text: string): string {
  const line = text.trim().split('\n', 1)[0]?.replace(/\s+/g, ' ') ?? '';
  if (line.length <= 48) return line || 'New chat';
  const cut = line.slice(0, 48);
  const space = cut.lastIndexOf(' ');
  return `${(space > 24 ? cut.slice(0, space) : cut).replace(/[\s,.;:!?]+$/, '')}…`;
}

/** An answer that has no ending was being written when the page closed; `cutOff` knows its last words. */
export function closeInterrupted(
  conversation: Conversation,
  cutOff: { messageId: string; text: string } | null = null,
): Conversation {
  if (conversation.messages.every((each) => each.role === 'user' || each.end)) return conversation;
  const messages = conversation.messages.map((each): Message =>
    each.role === 'assistant' && !each.end
      ? { ...each, end: 'interrupted', ...(cutOff?.messageId === each.id && { content: cutOff.text }) }
      : each,
  );
  return { ...conversation, messages };
}

/** Reads what was kept, and shows what was shown in this tab before. */
export async function restore(): Promise<void> {
  const cutOff = takeCutOff();
  const kept = (await loadConversations()).map((each) => {
    const closed = closeInterrupted(each, cutOff);
    if (cutOff && closed !== each) void saveConversation(closed);
    return closed;
  });
  // The reader may have begun a chat while storage was still opening.
  const fresh = conversations.value.filter((each) => !kept.some((other) => other.id === each.id));
  conversations.value = [...fresh, ...kept];
  if (currentId.value !== null) return;
  let last: string | null = null;
  try {
    last = sessionStorage.getItem(currentKey);
  } catch {
    // No storage: a new chat.
  }
  if (last && find(last)) currentId.value = last;
}

/** Shows a conversation; null begins a new one. */
export function show(id: string | null): void {
  currentId.value = id;
  try {
    if (id) sessionStorage.setItem(currentKey, id);
    else sessionStorage.removeItem(currentKey);
  } catch {
    // It is only a convenience for reloads.
  }
}

/** Replaces a conversation by what `edit` makes of it; `quietly` leaves its place in the list and storage alone. */
export function update(
  id: string,
  edit: (conversation: Conversation) => Conversation,
  quietly = false,
): void {
  const before = find(id);
  if (!before) return;
  const after = edit(before);
  if (quietly) {
    conversations.value = conversations.value.map((each) => (each.id === id ? after : each));
    return;
  }
  after.updatedAt = Date.now();
  conversations.value = [after, ...conversations.value.filter((each) => each.id !== id)];
  void saveConversation(after);
}

function say(content: string): Message {
  return { id: newId(), role: 'user', content, createdAt: Date.now() };
}

/** Adds what the reader wrote to the conversation shown, or to a new one; returns its id. */
export function addQuestion(content: string): string {
  const open = current.value;
  if (open) {
    update(open.id, (each) => ({ ...each, messages: [...each.messages, say(content)] }));
    return open.id;
  }
  const now = Date.now();
  const conversation: Conversation = {
    id: newId(),
    title: titleFrom(content),
    createdAt: now,
    updatedAt: now,
    messages: [say(content)],
  };
  conversations.value = [conversation, ...conversations.value];
  show(conversation.id);
  void saveConversation(conversation);
  return conversation.id;
}

/** Replaces what the reader wrote and drops all that came after it. */
export function editQuestion(id: string, messageId: string, content: string): void {
  update(id, (each) => {
    const index = each.messages.findIndex((message) => message.id === messageId);
    if (index < 0) return { ...each };
    const title =
      index === 0 && each.title === titleFrom(each.messages[0]!.content) ? titleFrom(content) : each.title;
    return { ...each, title, messages: [...each.messages.slice(0, index), say(content)] };
  });
}

/** Drops an answer and all that came after it. */
export function dropFrom(id: string, messageId: string): void {
  update(id, (each) => {
    const index = each.messages.findIndex((message) => message.id === messageId);
    return index < 0 ? { ...each } : { ...each, messages: each.messages.slice(0, index) };
  });
}

/** Changes one message; see `update` for `quietly`. */
export function updateMessage(id: string, messageId: string, part: Partial<Message>, quietly = false): void {
  const edit = (each: Conversation): Conversation => ({
    ...each,
    messages: each.messages.map((message) => (message.id === messageId ? { ...message, ...part } : message)),
  });
  update(id, edit, quietly);
}

export function rename(id: string, title: string): void {
  const trimmed = title.trim();
  if (!trimmed) return;
  const before = find(id);
  if (!before || before.title === trimmed) return;
  const after = { ...before, title: trimmed };
  conversations.value = conversations.value.map((each) => (each.id === id ? after : each));
  void saveConversation(after);
}

/** Deletes a conversation; the function returned brings it back. */
export function remove(id: string): (() => void) | undefined {
  const gone = find(id);
  if (!gone) return undefined;
  const wasShown = currentId.value === id;
  conversations.value = conversations.value.filter((each) => each.id !== id);
  if (wasShown) show(null);
  void removeConversation(id);
  return () => {
    conversations.value = [...conversations.value, gone].sort((a, b) => b.updatedAt - a.updatedAt);
    void saveConversation(gone);
    if (wasShown && currentId.value === null) show(id);
  };
}

/**
 * Takes over what another tab has changed, so that neither overwrites the other; not in the conversation that `writing` names,
 * and no answer before it is complete: the tab may be this one, whose page has just gone.
 */
export function follow(change: Change, writing: string | undefined): void {
  const saved = 'saved' in change ? change.saved : undefined;
  const id = 'saved' in change ? change.saved.id : change.removed;
  const before = find(id);
  if (id === writing) return;
  if (saved && (closeInterrupted(saved) !== saved || (before && before.updatedAt > saved.updatedAt))) return;
  const others = conversations.value.filter((each) => each.id !== id);
  conversations.value = (saved ? [saved, ...others] : others).sort((a, b) => b.updatedAt - a.updatedAt);
  if (!saved && currentId.value === id) show(null);
}
