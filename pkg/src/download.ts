// One file from a server: streamed, checked as early as its first bytes allow, resumed when the connection breaks.
// The bytes end in a Blob, which browsers keep on disk when memory is short; never in one big ArrayBuffer.
import { abortError, EngineError } from './errors.js';
import type { ByteSource } from './inkling.js';
import { blobsTakeMemory, PartStore, release } from './part-store.js';
import type { DownloadOptions } from './types.js';

/** Looks at the first bytes of a file: says how many it needs where these are too few, and throws when it is no model that can run. */
export type Inspector = (prefix: FilePrefix) => Promise<number | undefined>;

/** The first bytes of a file. */
export interface FilePrefix {
  bytes: Uint8Array;
  /** Size of the whole file; `Number.MAX_SAFE_INTEGER` when the server has not told. */
  fileSize: number;
}

/** How to download. */
export interface DownloadContext extends DownloadOptions {
  signal: AbortSignal;
  /** Called for each piece that arrives; `total` is undefined when the server has not told. */
  onBytes: (loaded: number, total: number | undefined) => void;
  inspect?: Inspector;
  /** Milliseconds before the first attempt to resume; each further one waits four times longer. */
  retryMs?: number;
  /** Milliseconds without a byte after which a connection counts as broken. */
  stallMs?: number;
}

/** Bytes collected in memory before they move into a Blob. */
const PART_BYTES = 8 * 1024 * 1024;
/** A file that memory has room for beside what becomes of it: what is held there needs no writing and reading. */
const SMALL_BYTES = 256 * 1024 * 1024;
/** A header larger than this is left to the loader. */
export const MAX_HEADER_BYTES = 64 * 1024 * 1024;
/** Bytes before the first inspection. */
export const FIRST_INSPECTION_BYTES = 256 * 1024;
/** Attempts to resume that bring less than `PROGRESS_BYTES` each, before giving up: some 25 seconds. */
const MAX_RESUMES = 4;
const PROGRESS_BYTES = 1024 * 1024;
const RETRY_MS = 300;
/** The longest that a server may ask us to wait. */
const MAX_WAIT_MS = 60_000;
const STALL_MS = 60_000;

/** Downloads one GGUF file. Rejects with `network`, `http_status`, `truncated`, or what `inspect` throws. */
export function download(url: string, context: DownloadContext): Promise<Blob | ByteSource> {
  return new Download(url, context).run();
}

/** Fetches the first `length` bytes of a file, fewer if it is shorter. Rejects as `download` does. */
export function fetchPrefix(url: string, length: number, context: DownloadContext): Promise<FilePrefix> {
  return new Download(url, context).prefix(length);
}

class Download {
  readonly #url: string;
  readonly #context: DownloadContext;
  readonly #parts: Blob[] = [];
  #store: PartStore | undefined;
  #chunks: Uint8Array<ArrayBuffer>[] = [];
  #chunkBytes = 0;
  #received = 0;
  #total: number | undefined;
  /** What tells this state of the file from others, where the server says it. */
  #version: string | null = null;
  /** How long the server asked us to wait, in milliseconds. */
  #pause = 0;
  #magicChecked = false;
  /** Received bytes at which to inspect next; undefined once the header is known to be good. */
  #inspectAt: number | undefined;

  constructor(url: string, context: DownloadContext) {
    this.#url = url;
    this.#context = context;
    if (context.inspect) this.#inspectAt = FIRST_INSPECTION_BYTES;
  }

  async run(): Promise<Blob | ByteSource> {
    const { signal, retryMs = RETRY_MS } = this.#context;
    const response = await this.#start();
    if (this.#size() > SMALL_BYTES && blobsTakeMemory()) this.#store = new PartStore();
    let broken = await this.#consume(response);
    for (let attempt = 0; broken; attempt += 1) {
      // A range of an encoded body does not begin where ours ends.
      if (attempt >= MAX_RESUMES || response.headers.has('content-encoding')) throw broken;
      await delay(Math.max(retryMs * 4 ** attempt, this.#pause), signal);
      const before = this.#received;
      broken = await this.#resume(broken);
      if (this.#received - before >= PROGRESS_BYTES) attempt = -1;
    }
    return this.#finish();
  }

  async prefix(length: number): Promise<FilePrefix> {
    // Nothing moves into a Blob.
    this.#inspectAt = Infinity;
    const response = await this.#start({ range: `bytes=0-${length - 1}` });
    const whole = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
    const fileSize = response.status === 206 ? Number(whole ?? Number.MAX_SAFE_INTEGER) : this.#size();
    const broken = await this.#consume(response, length);
    if (broken) throw broken;
    return { bytes: this.#prefix(length), fileSize };
  }

  async #start(extraHeaders: Record<string, string> = {}): Promise<Response> {
    const response = await this.#fetch(extraHeaders);
    if (response instanceof EngineError) throw response;
    if (!response.ok) {
      void response.body?.cancel();
      const url = this.#url;
      const message = `The server answered ${response.status} ${response.statusText}`.trim() + ` for ${url}.`;
      throw new EngineError('http_status', message, { status: response.status, url });
    }
    this.#version = versionOf(response);
    // An encoded body has another length than the header says.
    const length = Number(response.headers.get('content-length'));
    if (length > 0 && !response.headers.has('content-encoding')) this.#total = length;
    return response;
  }

  /** Asks for the rest. Gives what broke this time; throws `broken` where the server cannot resume. */
  async #resume(broken: EngineError): Promise<EngineError | undefined> {
    this.#pause = 0;
    const response = await this.#fetch({ range: `bytes=${this.#received}-` });
    if (response instanceof EngineError) return response;
    if (response.status === 206 && this.#continues(response)) return this.#consume(response);
    void response.body?.cancel();
    const temporary = response.status >= 500 || response.status === 429;
    this.#pause = Math.min((Number(response.headers.get('retry-after')) || 0) * 1000, MAX_WAIT_MS);
    if (temporary) return broken;
    throw broken;
  }

  /** Whether a partial answer goes on exactly where the last one broke, in the same file. */
  #continues(response: Response): boolean {
    const { headers } = response;
    if (versionOf(response) !== this.#version || headers.has('content-encoding')) return false;
    const range = headers.get('content-range');
    if (range !== null) return range.startsWith(`bytes ${this.#received}-`);
    // Other origins may hide Content-Range; the length tells as much.
    return (
      this.#total === undefined || Number(headers.get('content-length')) === this.#total - this.#received
    );
  }

  async #fetch(extraHeaders: Record<string, string>): Promise<Response | EngineError> {
    const { headers, credentials, signal } = this.#context;
    try {
      return await fetch(this.#url, {
        headers: { ...headers, ...extraHeaders },
        ...(credentials && { credentials }),
        signal,
      });
    } catch (cause) {
      signal.throwIfAborted();
      const message = `No answer from ${this.#url}: offline, a wrong address, or the server does not allow this page (CORS).`;
      return new EngineError('network', message, { cause, url: this.#url });
    }
  }

  /** Reads a body to its end or `limit`. Gives an error instead of throwing it where a resume may help. */
  async #consume(response: Response, limit = Infinity): Promise<EngineError | undefined> {
    const reader = response.body?.getReader();
    if (!reader) return this.#cutShort();
    try {
      for (;;) {
        let piece: ReadableStreamReadResult<Uint8Array<ArrayBuffer>>;
        try {
          piece = await inTime(reader.read(), this.#context.stallMs ?? STALL_MS);
        } catch (cause) {
          this.#context.signal.throwIfAborted();
          return this.#cutShort(cause);
        }
        if (piece.done) break;
        await this.#take(piece.value, response);
        if (this.#received >= limit) return undefined;
      }
    } finally {
      // Ends the transfer when the loop was left by an error; no effect after the end.
      reader.cancel().catch(() => undefined);
    }
    return this.#total !== undefined && this.#received < this.#total ? this.#cutShort() : undefined;
  }

  async #take(bytes: Uint8Array<ArrayBuffer>, response: Response): Promise<void> {
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.byteLength;
    this.#received += bytes.byteLength;
    // More than announced: the length was that of an encoded body whose encoding we could not see.
    if (this.#total !== undefined && this.#received > this.#total) this.#total = undefined;
    if (!this.#magicChecked && this.#received >= 4) this.#checkMagic(response.headers.get('content-type'));
    if (this.#inspectAt !== undefined && this.#received >= this.#inspectAt) await this.#inspect();
    if (this.#inspectAt === undefined && this.#chunkBytes >= PART_BYTES) await this.#flush();
    this.#context.onBytes(this.#received, this.#total);
  }

  async #inspect(): Promise<void> {
    const bytes = this.#prefix(this.#received);
    const needed = await this.#context.inspect?.({ bytes, fileSize: this.#size() });
    const again = needed === undefined ? Infinity : Math.max(needed, this.#received * 1.25);
    this.#inspectAt = again <= MAX_HEADER_BYTES ? again : undefined;
  }

  #size(): number {
    return this.#total ?? Number.MAX_SAFE_INTEGER;
  }

  #checkMagic(contentType: string | null): void {
    this.#magicChecked = true;
    const head = new TextDecoder().decode(this.#prefix(64)).trimStart().toLowerCase();
    if (head.startsWith('gguf')) return;
    throw new EngineError('invalid_gguf', notAModel(head, contentType), { url: this.#url });
  }

  /** The first bytes that are collected: those of the file while nothing has moved on. */
  #prefix(length: number): Uint8Array<ArrayBuffer> {
    const prefix = new Uint8Array(Math.min(length, this.#chunkBytes));
    let offset = 0;
    for (const chunk of this.#chunks) {
      const part = chunk.subarray(0, prefix.length - offset);
      prefix.set(part, offset);
      offset += part.length;
      if (offset === prefix.length) break;
    }
    return prefix;
  }

  /**
   * Moves the collected chunks on: to the disk or into a Blob. Not by `new Blob(chunks)`: after some hundred megabytes of
   * those in a row Chromium makes files of them while they still travel, and what it wrote cannot be read again. A
   * Response waits until its Blob has arrived.
   */
  async #flush(): Promise<void> {
    if (this.#store) {
      const bytes = this.#prefix(this.#chunkBytes);
      this.#chunks.forEach(release);
      this.#chunks = [];
      this.#chunkBytes = 0;
      return this.#store.add(bytes);
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk) controller.enqueue(chunk);
        else controller.close();
      },
    });
    try {
      this.#parts.push(await new Response(body).blob());
    } catch (cause) {
      this.#context.signal.throwIfAborted();
      const message = `The browser keeps no more than ${megabytes(this.#received)} MB of this download; private windows keep less than others.`;
      throw new EngineError('out_of_memory', message, { cause, url: this.#url });
    }
  }

  async #finish(): Promise<Blob | ByteSource> {
    if (!this.#magicChecked) {
      throw new EngineError('truncated', `The file at ${this.#url} is empty.`, { url: this.#url });
    }
    await this.#flush();
    return this.#store ?? new Blob(this.#parts);
  }

  #cutShort(cause?: unknown): EngineError {
    const of = this.#total === undefined ? '' : ` of ${megabytes(this.#total)}`;
    const message = `The download broke off after ${megabytes(this.#received)}${of} MB. Try again.`;
    return new EngineError('truncated', message, { url: this.#url, ...(cause !== undefined && { cause }) });
  }
}

/** Other origins see the date where they do not see the tag. */
function versionOf({ headers }: Response): string | null {
  return headers.get('etag') ?? headers.get('last-modified');
}

/** The promise's outcome, or an error when it takes too long. */
function inTime<T>(promise: Promise<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the server has fallen silent')), ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function notAModel(head: string, contentType: string | null): string {
  if (head.startsWith('<') || contentType?.includes('text/html')) {
    return 'The address leads to a web page, not to a GGUF file. Look for the direct download link.';
  }
  if (head.startsWith('version https://git-lfs')) {
    return 'The address leads to a Git LFS pointer, not to the GGUF file itself. Look for the direct download link.';
  }
  return 'The file at this address is not a GGUF model.';
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

function delay(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(abortError(signal.reason));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    }, ms);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}
