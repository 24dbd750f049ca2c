// TeX in an answer, shown as its source: Markdown would take the backslashes out of it, and drawing it would cost more
// than the whole page. Short formulas become code in the line, those that stand alone a block that can be copied.
import type { MarkedOptions, Token, TokenizerThis } from 'marked';

type Extensions = NonNullable<MarkedOptions['extensions']>;

/** Text up to the end mark, but not beyond a paragraph. */
const within = String.raw`((?:(?!\n\s*\n)[\s\S])+?)`;
const marks = [
  [String.raw`\\\(`, String.raw`\\\)`],
  [String.raw`\\\[`, String.raw`\\\]`],
  [String.raw`\$\$`, String.raw`\$\$`],
] as const;
const spans = marks.map(([open, end]) => new RegExp(`^${open}\\s*${within}\\s*${end}`));
const blocks = marks
  .slice(1)
  .map(([open, end]) => new RegExp(`^ {0,3}${open}\\s*${within}\\s*${end}[ \\t]*(?:\\n+|$)`));
/** One dollar may be money: a formula is closed in its line, has no blanks at its ends and something that prices lack. */
const dollars = /^\$(?![\s$])((?:\\.|[^\\$\n])*?[^\s\\$])\$(?!\d)/;
const formula = /[\\^_={}<>+]|^[a-zA-Z]$/;

function match(patterns: readonly RegExp[], source: string): RegExpExecArray | null {
  for (const pattern of patterns) {
    const found = pattern.exec(source);
    if (found) return found;
  }
  return null;
}

function inline(this: TokenizerThis, source: string): Token | undefined {
  let found = match(spans, source);
  if (!found) {
    found = dollars.exec(source);
    if (!found || !formula.test(found[1]!)) return undefined;
  }
  return { type: 'codespan', raw: found[0], text: found[1]!.trim() };
}

function block(this: TokenizerThis, source: string): Token | undefined {
  const found = match(blocks, source);
  return found ? { type: 'code', raw: found[0], lang: 'tex', text: found[1]!.trim() } : undefined;
}

const start = (pattern: RegExp) => (source: string) => {
  const at = source.search(pattern);
  return at < 0 ? undefined : at;
};

/** For marked's lexer. */
export const math: Extensions = {
  inline: [inline],
  block: [block],
  startInline: [start(/\\[([]|\$/)],
  startBlock: [start(/^(?:\\\[|\$\$)/m)],
  renderers: {},
  childTokens: {},
};
