// What the engine found out about a GPU, kept for the next load: kernels that were right on this adapter need no second
// check. A store that fails in any way only costs that check.
import { outcome, patiently } from './indexed-db.js';

/**
 * Keeps the engine's verdicts, one for each model and adapter. The engine itself sees whether one still fits, so
 * anything that tells models apart will do as `model`. Never rejects.
 */
export interface Verdicts {
  /** The verdict on the adapter that the engine will take, if there is one. */
  read(model: string): Promise<string | undefined>;
  write(model: string, adapter: string, verdict: string): Promise<void>;
}

const DATABASE = 'inkling-llm';
const STORE = 'gpu-verdicts';

/** An adapter's info, as far as it names it. */
interface AdapterInfo {
  vendor: string;
  architecture: string;
  device: string;
  description: string;
}

interface Gpu {
  requestAdapter(options: { powerPreference: string }): Promise<{ info: AdapterInfo } | null>;
}

/** Verdicts in IndexedDB, those of other versions of this package left aside. */
export function storedVerdicts(version: string): Verdicts {
  const keyOf = (model: string, adapter: string): string => [version, adapter, model].join('/');
  return {
    read: (model) =>
      patiently(async () => {
        const adapter = await adapterName();
        if (adapter === undefined) return undefined;
        const found: unknown = await inStore('readonly', (store) => store.get(keyOf(model, adapter)));
        return typeof found === 'string' ? found : undefined;
      }),
    write: (model, adapter, verdict) =>
      patiently(async () => {
        await inStore('readwrite', (store) => store.put(verdict, keyOf(model, adapter)));
        return undefined;
      }),
  };
}

/** As the engine names the adapter. */
async function adapterName(): Promise<string | undefined> {
  const { gpu } = navigator as { gpu?: Gpu };
  const adapter = await gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) return undefined;
  const { vendor, architecture, device, description } = adapter.info;
  return description || `${vendor} ${architecture} ${device}`.trim();
}

async function inStore<T>(
  mode: IDBTransactionMode,
  use: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  const database = await outcome(opening);
  try {
    return await outcome(use(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}
