// The page's side of model sources: everything becomes an absolute address or a Blob, both cheap to send to a worker.
import { EngineError } from './errors.js';
import type { SourceSpec } from './protocol.js';
import type { ModelPart, ModelSource } from './types.js';

/** One entry per file of the model. Throws `invalid_request` for an empty list or an address that is none. */
export function describeSource(source: ModelSource): SourceSpec[] {
  const parts: readonly ModelPart[] = isList(source) ? source : [source];
  if (parts.length === 0) throw new EngineError('invalid_request', 'The list of model files is empty.');
  const specs = parts.map(describePart);
  const [first] = specs;
  return specs.length === 1 && first?.kind === 'url' ? expandShards(first.url) : specs;
}

/** The addresses of all shards, given the first one's (`…-00001-of-00003.gguf`); other addresses stay alone. */
export function expandShards(url: string): SourceSpec[] {
  const match = /-00001-of-(\d{5})\.gguf(?=$|[?#])/.exec(url);
  if (!match) return [{ kind: 'url', url }];
  const count = match[1] ?? '';
  return Array.from({ length: Number(count) }, (_, index) => {
    const number = String(index + 1).padStart(5, '0');
    const name = `-${number}-of-${count}.gguf`;
    return { kind: 'url', url: url.slice(0, match.index) + name + url.slice(match.index + name.length) };
  });
}

function isList(source: ModelSource): source is readonly ModelPart[] {
  return Array.isArray(source);
}

function describePart(part: ModelPart): SourceSpec {
  if (typeof part === 'string' || part instanceof URL) return { kind: 'url', url: absolute(part) };
  if (part instanceof Blob) return { kind: 'blob', blob: part };
  if (part instanceof ArrayBuffer) return { kind: 'blob', blob: new Blob([part]) };
  if (part instanceof Uint8Array) return { kind: 'blob', blob: new Blob([unshared(part)]) };
  throw new EngineError(
    'invalid_request',
    'A model is an address, a Blob or File, an ArrayBuffer or a Uint8Array.',
  );
}

/** A Blob takes no shared memory: such bytes are copied first. */
function unshared(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}

/** The worker would resolve relative addresses against its own script, so the page does it. */
export function absolute(url: string | URL): string {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return new URL(url, base).href;
  } catch (cause) {
    throw new EngineError('invalid_request', `Not an address: ${String(url)}`, { cause });
  }
}
