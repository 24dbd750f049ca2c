/** Calls `work` once before the next paint, however often it is asked; in a hidden tab, every quarter second. */
export class FrameGate {
  #frame = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  readonly #work: () => void;

  constructor(work: () => void) {
    this.#work = work;
  }

  request(): void {
    if (this.#frame || this.#timer !== undefined) return;
    if (document.hidden) this.#timer = setTimeout(() => this.flush(), 250);
    else this.#frame = requestAnimationFrame(() => this.flush());
    // A tab that is hidden between the request and the frame would wait for ever.
    if (this.#frame) this.#timer = setTimeout(() => this.flush(), 500);
  }

  /** Works now. */
  flush(): void {
    this.cancel();
    this.#work();
  }

  cancel(): void {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = 0;
    this.#timer = undefined;
  }
}
