// The memory that threads share. It cannot move while it grows, so browsers set its maximum aside at once, and phones have
// no room for the 4 GB that 32 bits can address.
import { sharedPages } from './builds.js';

const PAGE_BYTES = 65536;
const GIB = 2 ** 30 / PAGE_BYTES;
/** Most first. Less than the last is not worth threads: a build without them can grow for as long as the browser lets it. */
const MAXIMA = [4 * GIB, 2 * GIB, GIB] as const;

/** What a model needs beside its file, generously: packed weights that are larger than it, a long context. */
const needed = (fileBytes: number): number => fileBytes * 1.2 + 2 ** 28;

/**
 * Sets aside as much as the browser grants, and at least what a model of `fileBytes` may need. Gives null where it grants
 * too little, or no shared memory at all. `fileBytes` is only waited for where the whole is refused.
 */
export async function reserveMemory(fileBytes: Promise<number>): Promise<WebAssembly.Memory | null> {
  for (const maximum of MAXIMA) {
    if (maximum < MAXIMA[0] && maximum * PAGE_BYTES < needed(await fileBytes)) return null;
    try {
      return new WebAssembly.Memory({ initial: sharedPages, maximum, shared: true });
    } catch (error) {
      // A RangeError is a matter of room.
      if (!(error instanceof RangeError)) return null;
    }
  }
  return null;
}
