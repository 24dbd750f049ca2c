// What callers without TypeScript may hand over, put right or refused before it reaches the wasm module, which would trap.
import { EngineError, messageOf } from './errors.js';
import type { TokenIds } from './text-types.js';

/** The error of a request that cannot be meant. */
export function invalid(message: string, cause?: unknown): EngineError {
  return new EngineError('invalid_request', message, cause === undefined ? {} : { cause });
}

/** The text itself. Throws `invalid_request` for anything else. */
export function text(name: string, value: string): string {
  if (typeof value === 'string') return value;
  throw invalid(`\`${name}\` is not a string.`);
}

/** A number, or nothing: the request's own default. Throws `invalid_request`, by name, for anything else. */
export function number(name: string, value: number | null | undefined): number | undefined {
  if (value === null || value === undefined) return undefined;
  if (Number.isFinite(value)) return value;
  throw invalid(`\`${name}\` is ${String(value)}; it is a number.`);
}

/** The same for a whole number from `least`. */
export function whole(name: string, value: number | null | undefined, least = 0): number | undefined {
  if (value === null || value === undefined) return undefined;
  if (Number.isInteger(value) && value >= least) return value;
  throw invalid(`\`${name}\` is ${String(value)}; it is a whole number from ${least}.`);
}

/** A copy that can travel. Throws `invalid_request` for what is no list of numbers. */
export function tokenIds(name: string, value: TokenIds): Uint32Array {
  const list: unknown = value;
  if (
    list instanceof Uint32Array ||
    (Array.isArray(list) && list.every((id) => Number.isInteger(id) && id >= 0))
  ) {
    return Uint32Array.from(value);
  }
  throw invalid(`\`${name}\` is not a list of token ids.`);
}

/** What `make` makes; a mistake in reading the caller's objects is the caller's. */
export function readable<T>(make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof TypeError) throw invalid(`The request cannot be read: ${messageOf(error)}`, error);
    throw error;
  }
}

/** As JSON. Halves of characters, as cutting a text leaves them, become replacement characters: JSON takes none. */
export function json(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'string' ? part.replace(/\p{Surrogate}/gu, '\ufffd') : part,
  );
}
