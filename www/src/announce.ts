// Screen readers hear whole sentences of an answer, not each token.

/** Markdown's marks are noise when spoken. */
export function speakable(markdown: string): string {
  return markdown
    .replace(/```[^\n]*\n?/g, ' ')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/^\s{0,3}(#{1,6}|>|[-*+]|\d+[.)])\s+/gm, '')
    .replace(/[*_`~|]+/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

const sentenceEnd = /[.!?…。！？][)"'”’»\]]*(?=\s)|[。！？]|\n\s*\n|\n(?=\s*(?:[-*+]|\d+[.)])\s)/g;

/** Turns growing text into whole sentences, each given out once. */
export class SentenceAnnouncer {
  #spoken = 0;

  /** `text` is the answer so far; returns what is new and whole, ready to be spoken, or an empty string. */
  push(text: string): string {
    let end = this.#spoken;
    sentenceEnd.lastIndex = this.#spoken;
    for (let match = sentenceEnd.exec(text); match; match = sentenceEnd.exec(text)) {
      end = match.index + match[0].length;
    }
    return this.#take(text, end);
  }

  /** The rest, once the answer has ended. */
  finish(text: string): string {
    return this.#take(text, text.length);
  }

  #take(text: string, end: number): string {
    const part = text.slice(this.#spoken, end);
    this.#spoken = Math.max(this.#spoken, end);
    return speakable(part);
  }
}
