// Markdown that is still being written, as a list of blocks. All blocks but the last are final once there is text
// after them: they are parsed once and keep their identity, so only the open last block costs anything per frame.
import { Lexer, type Token } from 'marked';
import { math } from './math.ts';

export type Block = Token;

export class BlockParser {
  #source = '';
  /** Length of the text that the frozen blocks cover. */
  #covered = 0;
  #frozen: Block[] = [];

  /** Blocks of `text`; a line that the model ends is a line, for the sake of verse. Cheap when `text` is the last one with more at its end. */
  parse(text: string): readonly Block[] {
    // marked reads these as line ends; other line ends would make its blocks differ from the source in length.
    const source = text.replace(/\r\n?/g, '\n');
    if (!source.startsWith(this.#source)) this.#reset();
    this.#source = source;
    const open = new Lexer({ gfm: true, breaks: true, extensions: math }).lex(source.slice(this.#covered));
    const visible = open.filter((block) => block.type !== 'space');
    const last = open.findLastIndex((block) => block.type !== 'space');
    for (const block of open.slice(0, Math.max(last, 0))) {
      this.#covered += block.raw.length;
      if (block.type !== 'space') this.#frozen.push(block);
    }
    return last < 1 ? [...this.#frozen, ...visible] : [...this.#frozen, open[last]!];
  }

  #reset(): void {
    this.#covered = 0;
    this.#frozen = [];
  }
}

export interface Reasoned {
  /** What a reasoning model wrote before its answer, null if it wrote nothing of the kind. */
  reasoning: string | null;
  answer: string;
  /** Whether the reasoning is still going on. */
  open: boolean;
}

/** Takes the `<think>` part off the front of an answer. */
export function splitReasoning(text: string): Reasoned {
  const start = /^\s*<think>\n?/.exec(text);
  if (!start) return { reasoning: null, answer: text, open: false };
  const end = text.indexOf('</think>', start[0].length);
  if (end < 0) return { reasoning: text.slice(start[0].length), answer: '', open: true };
  const reasoning = text.slice(start[0].length, end).trim();
  return { reasoning: reasoning || null, answer: text.slice(end + 8).trimStart(), open: false };
}
