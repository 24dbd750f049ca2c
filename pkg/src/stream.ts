/**
 * Pieces of an answer as they are written. Leaving a `for await` loop early stops the model. A stream can be read
 * once; errors are thrown by the loop as `EngineError`.
 */
export interface CompletionStream<Chunk> extends AsyncIterableIterator<Chunk> {
  /** Ends the answer where it is: the last chunk comes with `finish_reason: "cancelled"`, usage and timings. */
  stop(): void;
}

/** What a stream needs from whoever fills it. */
export interface StreamControl {
  /** The reader wants the end. */
  stop(): void;
  /** The reader has left. */
  leave(): void;
}

type Reader<Chunk> = {
  resolve(result: IteratorResult<Chunk, undefined>): void;
  reject(error: unknown): void;
};

/** A `CompletionStream` that is filled from the outside. */
export class ChunkQueue<Chunk> implements CompletionStream<Chunk> {
  readonly #control: StreamControl;
  readonly #readers: Reader<Chunk>[] = [];
  #chunks: Chunk[] = [];
  #ended = false;
  #failure: { error: unknown } | undefined;

  constructor(control: StreamControl) {
    this.#control = control;
  }

  /** Adds a chunk; ignored after the end. */
  push(chunk: Chunk): void {
    if (this.#ended) return;
    const reader = this.#readers.shift();
    if (reader) reader.resolve({ done: false, value: chunk });
    else this.#chunks.push(chunk);
  }

  /** No more chunks will come. */
  end(): void {
    this.#ended = true;
    for (const reader of this.#readers.splice(0)) reader.resolve({ done: true, value: undefined });
  }

  /** Lets the reader have what came so far (unless `now`), then throws `error` to it once. */
  fail(error: unknown, now = false): void {
    if (this.#ended) return;
    if (now) this.#chunks = [];
    const reader = this.#readers.shift();
    if (reader) reader.reject(error);
    else this.#failure = { error };
    this.end();
  }

  next(): Promise<IteratorResult<Chunk, undefined>> {
    const [chunk] = this.#chunks.splice(0, 1);
    if (chunk !== undefined) return Promise.resolve({ done: false, value: chunk });
    if (this.#failure) {
      const { error } = this.#failure;
      this.#failure = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Chunk, undefined>> {
    if (!this.#ended) this.#control.leave();
    this.#chunks = [];
    this.#failure = undefined;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  stop(): void {
    if (!this.#ended) this.#control.stop();
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
