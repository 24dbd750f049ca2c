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
    // Frames do not come in a tab that was hidden meanwhile, and late where all cores are busy with the model.
    if (this.#frame) this.#timer = setTimeout(() => this.flush(), 80);
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
