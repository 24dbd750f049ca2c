// The worker's side of model sources: whatever the model comes as, the engine reads it by byte range.
import { download, fetchPrefix, FIRST_INSPECTION_BYTES, MAX_HEADER_BYTES } from './download.js';
import type { FilePrefix, Inspector } from './download.js';
import type { ByteSource } from './inkling.js';
import type { SourceSpec } from './protocol.js';
import type { DownloadOptions, LoadProgress } from './types.js';

/** Looks at a model by the headers of its files; throws when it is none that can run. */
export interface ModelInspector {
  /** Reads a file's header from its first bytes; says how many it needs where these are too few. */
  read(file: number, prefix: FilePrefix): Promise<number | undefined>;
  /** Called once the headers of all files are read. */
  finish(): Promise<void>;
}

/** What `openSources` needs besides the sources. */
export interface OpenContext {
  download: DownloadOptions;
  inspect: ModelInspector;
  signal: AbortSignal;
  onProgress: (progress: LoadProgress) => void;
}

/** Downloads what has to be, one file after the other, and gives one byte source per shard. */
export async function openSources(specs: readonly SourceSpec[], context: OpenContext): Promise<ByteSource[]> {
  const tally = new DownloadTally(context.onProgress);
  await tally.learnSizes(specs, context);
  const sources: ByteSource[] = [];
  for (const [index, spec] of specs.entries()) {
    // By the first shard, the header of the others is asked for: before any weight is fetched.
    const inspect = index === 0 ? inspector(specs.slice(1), context) : undefined;
    const file = spec.kind === 'blob' ? spec.blob : await fetchFile(spec.url, inspect, tally, context);
    sources.push(file instanceof Blob ? blobSource(file, context.signal) : file);
  }
  return sources;
}

/** Reads a Blob by range; a File stays on the disk. */
export function blobSource(blob: Blob, signal: AbortSignal): ByteSource {
  return {
    size: () => blob.size,
    read: async (offset, length) => {
      signal.throwIfAborted();
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
  };
}

function fetchFile(
  url: string,
  inspect: Inspector | undefined,
  tally: DownloadTally,
  { download: options, signal }: OpenContext,
): Promise<Blob | ByteSource> {
  const onBytes = (loaded: number, total: number | undefined): void => tally.report(url, loaded, total);
  return download(url, { ...options, signal, onBytes, ...(inspect && { inspect }) });
}

/** Looks at the first file's beginning and, once that file's header is whole, at those of the other shards. */
function inspector(others: readonly SourceSpec[], context: OpenContext): Inspector {
  const { inspect } = context;
  const readOther = async (spec: SourceSpec, index: number): Promise<boolean> => {
    let needed: number | undefined = FIRST_INSPECTION_BYTES;
    while (needed !== undefined && needed <= MAX_HEADER_BYTES) {
      needed = await inspect.read(index + 1, await readPrefix(spec, needed, context));
    }
    return needed === undefined;
  };
  return async (first) => {
    const needed = await inspect.read(0, first);
    if (needed !== undefined) return needed;
    const whole = await Promise.all(others.map(readOther));
    if (whole.every(Boolean)) await inspect.finish();
    return undefined;
  };
}

async function readPrefix(spec: SourceSpec, length: number, context: OpenContext): Promise<FilePrefix> {
  if (spec.kind === 'url') {
    const { download: options, signal } = context;
    return fetchPrefix(spec.url, length, { ...options, signal, onBytes: () => undefined });
  }
  const prefix = spec.blob.slice(0, length);
  return { bytes: new Uint8Array(await prefix.arrayBuffer()), fileSize: spec.blob.size };
}

/** Sums the progress of several files. */
class DownloadTally {
  readonly #report: (progress: LoadProgress) => void;
  readonly #loaded = new Map<string, number>();
  readonly #totals = new Map<string, number | undefined>();

  constructor(report: (progress: LoadProgress) => void) {
    this.#report = report;
  }

  /** Asks for the sizes of shards that come later, so that the total is right from the start. */
  async learnSizes(specs: readonly SourceSpec[], { download, signal }: OpenContext): Promise<void> {
    const urls = specs.flatMap((spec) => (spec.kind === 'url' ? [spec.url] : []));
    for (const url of urls) this.#totals.set(url, undefined);
    if (urls.length < 2) return;
    const ask = async (url: string): Promise<void> => {
      const response = await fetch(url, { method: 'HEAD', ...fetchOptions(download), signal });
      const length = Number(response.headers.get('content-length'));
      if (response.ok && length > 0) this.#totals.set(url, length);
    };
    // A server may refuse HEAD; the download itself will tell.
    await Promise.allSettled(urls.map(ask));
    signal.throwIfAborted();
  }

  report(url: string, loaded: number, total: number | undefined): void {
    this.#loaded.set(url, loaded);
    if (total !== undefined) this.#totals.set(url, total);
    const totals = [...this.#totals.values()];
    this.#report({
      phase: 'download',
      loaded: sum(this.#loaded.values()),
      total: totals.every((size) => size !== undefined) ? sum(totals) : 0,
      file: fileName(url),
    });
  }
}

/** The part of the download options that `fetch` takes. */
export function fetchOptions({ headers, credentials }: DownloadOptions): RequestInit {
  return { ...(headers && { headers }), ...(credentials && { credentials }) };
}

function sum(values: Iterable<number>): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function fileName(url: string): string {
  const last = new URL(url).pathname.split('/').pop() ?? '';
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
