// Words that were just written show in the colour of wet ink and dry to the colour of the text. Painted with the
// CSS Custom Highlight API: the DOM stays as it is, nothing is laid out again. Browsers without it show dry ink.

/** Ages in milliseconds at which a word passes from one highlight to the next. */
const drying = [180, 420, 760];
const names = drying.map((_, index) => `wet-${index + 1}`);

const supported = typeof Highlight !== 'undefined' && typeof CSS !== 'undefined' && 'highlights' in CSS;

interface Position {
  node: Text;
  offset: number;
}

/** Where the text of `root` stands `back` characters before its end; walks only as far as needed. */
function fromEnd(root: Node, back: number): Position | null {
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let node: Node | null = root;
  while (node.lastChild) node = node.lastChild;
  walker.currentNode = node;
  let current: Node | null = node instanceof Text ? node : walker.previousNode();
  let first: Position | null = null;
  while (current instanceof Text) {
    first = { node: current, offset: Math.max(0, current.data.length - back) };
    if (current.data.length >= back) return first;
    back -= current.data.length;
    current = walker.previousNode();
  }
  return first;
}

/** Follows one growing text. Call `grow` after each paint of new text. */
export class WetInk {
  #marks: { at: number; length: number }[] = [];
  #length = 0;
  #timer = 0;
  readonly #root: HTMLElement;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** `length`: characters of the text so far. */
  grow(length: number): void {
    if (!supported) return;
    const now = performance.now();
    if (length > this.#length) this.#marks.push({ at: now, length: length - this.#length });
    this.#length = length;
    this.#paint();
  }

  #paint = (): void => {
    cancelAnimationFrame(this.#timer);
    const now = performance.now();
    this.#marks = this.#marks.filter((mark) => now - mark.at < drying.at(-1)!);
    let end = fromEnd(this.#root, 0);
    let back = 0;
    drying.forEach((age, index) => {
      const young = this.#marks
        .filter((mark) => now - mark.at < age)
        .reduce((sum, mark) => sum + mark.length, 0);
      const start = young > back ? fromEnd(this.#root, young) : null;
      if (!start || !end) return void CSS.highlights.delete(names[index]!);
      const range = new StaticRange({
        startContainer: start.node,
        startOffset: start.offset,
        endContainer: end.node,
        endOffset: end.offset,
      });
      CSS.highlights.set(names[index]!, new Highlight(range));
      end = start;
      back = young;
    });
    if (this.#marks.length > 0) this.#timer = requestAnimationFrame(this.#paint);
  };

  /** Lets all ink be dry. */
  close(): void {
    cancelAnimationFrame(this.#timer);
    if (supported) for (const name of names) CSS.highlights.delete(name);
  }
}
