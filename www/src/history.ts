// Conversations in IndexedDB. Storage may be closed (private windows), full, or absent: then the first failure is
// told once through `onFailure`, and the app goes on with what it has in memory.
import { openDB, type DBSchema, type IDBPDatabase } from 'idb';
import type { Conversation } from './types.ts';

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
}

export type StorageFailure = 'full' | 'closed';

let database: Promise<IDBPDatabase<Schema>> | undefined;
let told = false;
let onFailure: (failure: StorageFailure) => void = () => {};

function open(): Promise<IDBPDatabase<Schema>> {
  database ??= openDB<Schema>('inkling', 1, {
    upgrade(db) {
      db.createObjectStore('conversations', { keyPath: 'id' });
    },
    // Another tab wants a newer schema: let it go on.
    blocking(_current, _blocked, event) {
      (event.target as IDBDatabase).close();
      database = undefined;
    },
    terminated() {
      database = undefined;
    },
  });
  return database;
}

async function attempt<T>(work: (db: IDBPDatabase<Schema>) => Promise<T>): Promise<T | undefined> {
  try {
    return await work(await open());
  } catch {
    // iOS breaks the connection of a page that it has put to sleep, and does not say so.
    database = undefined;
  }
  try {
    return await work(await open());
  } catch (error) {
    if (!told) {
      told = true;
      onFailure(error instanceof DOMException && error.name === 'QuotaExceededError' ? 'full' : 'closed');
    }
    return undefined;
  }
}

/** Sets who hears of the first failure. */
export function onStorageFailure(listener: (failure: StorageFailure) => void): void {
  onFailure = listener;
}

/** What another tab of this page has kept. */
export type Change = { saved: Conversation } | { removed: string };

let tabs: BroadcastChannel | undefined;

/** Sets who hears of changes in other tabs, and lets them hear of ours. */
export function onOtherTab(listener: (change: Change) => void): void {
  tabs = new BroadcastChannel('inkling');
  tabs.onmessage = ({ data }: MessageEvent<Change>) => listener(data);
}

/** All conversations, the latest first. */
export async function loadConversations(): Promise<Conversation[]> {
  const all = (await attempt((db) => db.getAll('conversations'))) ?? [];
  return all.sort((a, b) => b.updatedAt - a.updatedAt);
}

export async function saveConversation(conversation: Conversation): Promise<void> {
  await attempt((db) => db.put('conversations', conversation));
  tabs?.postMessage({ saved: conversation } satisfies Change);
}

export async function removeConversation(id: string): Promise<void> {
  await attempt((db) => db.delete('conversations', id));
  tabs?.postMessage({ removed: id } satisfies Change);
}

const cutOffKey = 'inkling.cut-off';

/** Keeps the text of an answer at the moment the page goes: IndexedDB would be too slow. */
export function keepCutOff(messageId: string, text: string): void {
  try {
    sessionStorage.setItem(cutOffKey, JSON.stringify([messageId, text]));
  } catch {
    // What was saved last will do.
  }
}

/** Gives the text back, once. */
export function takeCutOff(): { messageId: string; text: string } | null {
  try {
    const [messageId, text] = JSON.parse(sessionStorage.getItem(cutOffKey) ?? '[]') as unknown[];
    sessionStorage.removeItem(cutOffKey);
    return typeof messageId === 'string' && typeof text === 'string' ? { messageId, text } : null;
  } catch {
    return null;
  }
}
