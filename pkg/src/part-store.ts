// A download on the disk until the model is loaded. WebKit holds the bytes of every Blob in memory, so that a phone would
// need the model twice; what lies in IndexedDB does not count there.
import { outcome, patiently } from './indexed-db.js';
import type { ByteSource } from './inkling.js';

/** WebKit's number; Chromium goes on giving that of the WebKit it came from. */
const WEBKIT = /AppleWebKit\/(?!537\.36)/;
const PREFIX = 'inkling-llm-parts-';
const STORE = 'parts';

interface Database {
  idb: IDBDatabase;
  unlock: () => void;
}

/** Where it is on the disk, or the bytes themselves where the disk did not take them. */
interface Part {
  start: number;
  size: number;
  place: IDBValidKey | Blob;
}

let opened: Promise<Database | undefined> | undefined;

/** Whether a Blob takes memory here. */
export const blobsTakeMemory = (): boolean => WEBKIT.test(globalThis.navigator?.userAgent ?? '');

/** One file, as its parts come in. */
export class PartStore implements ByteSource {
  readonly #parts: Part[] = [];
  #size = 0;
  /** The last one that was read: reads are mostly one after the other. */
  #loaded: { part: Part; bytes: Uint8Array } | undefined;

  size(): number {
    return this.#size;
  }

  /** Takes these bytes over. */
  async add(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const { length } = bytes;
    const start = this.#size;
    this.#size += length;
    const write = async (): Promise<IDBValidKey> => outcome((await parts()).add(bytes));
    // Storage may be closed in this window, or full.
    this.#parts.push({ start, size: length, place: await write().catch(() => new Blob([bytes])) });
    release(bytes);
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    // A copy: whoever asked for it releases it.
    const result = new Uint8Array(Math.min(length, this.#size - offset));
    for (let at = 0; at < result.length;) {
      const bytes = await this.#from(offset + at);
      const piece = bytes.subarray(0, result.length - at);
      result.set(piece, at);
      at += piece.length;
    }
    return result;
  }

  /** The rest of the part that a byte stands in. */
  async #from(offset: number): Promise<Uint8Array> {
    const part = this.#parts.find(({ start, size }) => offset < start + size);
    if (!part) throw new Error('a read beyond the end');
    if (this.#loaded?.part !== part) {
      if (this.#loaded) release(this.#loaded.bytes);
      this.#loaded = { part, bytes: await load(part) };
    }
    return this.#loaded.bytes.subarray(offset - part.start);
  }
}

/** Gives the memory back at once, where the browser can: the collector would let a whole model pile up. */
export function release({ buffer }: Uint8Array<ArrayBufferLike>): void {
  (buffer as { transfer?: (length: number) => unknown }).transfer?.(0);
}

async function load({ size, place }: Part): Promise<Uint8Array> {
  if (place instanceof Blob) return new Uint8Array(await place.arrayBuffer());
  const bytes: unknown = await outcome((await parts()).get(place));
  if (bytes instanceof Uint8Array && bytes.length === size) return bytes;
  throw new Error('the browser has lost a part of the download');
}

async function parts(): Promise<IDBObjectStore> {
  const database = await (opened ??= patiently(open));
  if (!database) throw new Error('no storage here');
  return database.idb.transaction(STORE, 'readwrite').objectStore(STORE);
}

/** Takes all parts of this worker away. Never rejects. */
export async function forgetParts(): Promise<void> {
  const database = await opened;
  opened = undefined;
  if (!database) return;
  database.idb.close();
  indexedDB.deleteDatabase(database.idb.name);
  database.unlock();
}

/** A database of this worker's own, which is locked for as long as the worker is there. */
async function open(): Promise<Database> {
  for (const { name } of await indexedDB.databases()) if (name?.startsWith(PREFIX)) await sweep(name);
  const name = PREFIX + crypto.getRandomValues(new Uint32Array(2)).join('-');
  const unlock = await new Promise<() => void>((locked, refused) => {
    const hold = (): Promise<void> => new Promise((resolve) => locked(resolve));
    navigator.locks.request(name, hold).catch(refused);
  });
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { autoIncrement: true });
  return { idb: await outcome(opening), unlock };
}

/** Takes away what a worker has left that ended in the middle of a load. */
function sweep(name: string): Promise<void> {
  return navigator.locks.request(name, { ifAvailable: true }, (lock) => {
    if (lock) indexedDB.deleteDatabase(name);
  });
}
