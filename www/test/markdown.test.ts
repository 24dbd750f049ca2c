import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Lexer } from 'marked';
import { BlockParser, splitReasoning } from '../src/markdown/blocks.ts';
import { decodeEntities } from '../src/markdown/entities.ts';
import { math } from '../src/markdown/math.ts';

const text = `# Title

A paragraph with *emphasis*,
over two lines.

- one
- two

  with a second paragraph
- three

1. first
   - nested
2. second

\`\`\`js
const a = 1;

const b = 2;
\`\`\`

| a | b |
|---|--:|
| 1 | 2 |

> quoted

Then \\(a\\) and $b_1$:
\\[
c = \\frac{1}{2}
\\]

Setext
------

The end.`;

const shape = (tokens: readonly { type: string; raw: string }[]) =>
  tokens.filter((token) => token.type !== 'space').map((token) => [token.type, token.raw.trim()]);

test('a text that grows letter by letter ends as the same blocks as the whole', () => {
  const parser = new BlockParser();
  for (let end = 1; end <= text.length; end++) {
    const part = text.slice(0, end);
    assert.deepEqual(
      shape(parser.parse(part)),
      shape(new Lexer({ gfm: true, breaks: true, extensions: math }).lex(part)),
      JSON.stringify(part.slice(-20)),
    );
  }
});

test('blocks that are final keep their identity', () => {
  const parser = new BlockParser();
  const before = parser.parse('One.\n\nTwo.\n\nThr');
  const after = parser.parse('One.\n\nTwo.\n\nThree and more');
  assert.equal(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.notEqual(after[2], before[2]);
});

test('another text starts anew', () => {
  const parser = new BlockParser();
  parser.parse('One.\n\nTwo.\n\nThree');
  assert.deepEqual(shape(parser.parse('Other')), [['paragraph', 'Other']]);
  assert.deepEqual(shape(parser.parse('')), []);
  assert.deepEqual(shape(parser.parse('a\r\n\r\nb')), [
    ['paragraph', 'a'],
    ['paragraph', 'b'],
  ]);
});

test('entities become characters, once', () => {
  assert.equal(
    decodeEntities('a &amp; b &lt;c&gt; &#39;&#x2014; &nope; &amp;lt;'),
    "a & b <c> '— &nope; &lt;",
  );
  assert.equal(decodeEntities('&#0; &#xD800;'), '\ufffd \ufffd');
});

test('reasoning is taken off the front', () => {
  assert.deepEqual(splitReasoning('Hello <think>'), {
    reasoning: null,
    answer: 'Hello <think>',
    open: false,
  });
  assert.deepEqual(splitReasoning('<think>\nHm'), { reasoning: 'Hm', answer: '', open: true });
  assert.deepEqual(splitReasoning('<think>\nHm.\n</think>\n\nHi'), {
    reasoning: 'Hm.',
    answer: 'Hi',
    open: false,
  });
  assert.deepEqual(splitReasoning('<think>\n\n</think>\n\nHi'), {
    reasoning: null,
    answer: 'Hi',
    open: false,
  });
});

test('TeX keeps its backslashes, and money stays money', () => {
  const spans = (text: string) => {
    const [first] = new BlockParser().parse(text) as readonly { tokens?: { type: string; text: string }[] }[];
    return first?.tokens?.filter(({ type }) => type === 'codespan').map((each) => each.text);
  };
  assert.deepEqual(spans('So \\(x^2 + \\, y\\) and $a_1 * b_1$ and $$c$$ and $n$.'), [
    'x^2 + \\, y',
    'a_1 * b_1',
    'c',
    'n',
  ]);
  assert.deepEqual(spans('It costs $5 and $10, or $5-$10, or A$6 = B$7.'), []);
  assert.deepEqual(spans('Open \\(x and $y'), []);
  const blocks = new BlockParser().parse('Thus\n\\[ \\frac{1}{2} \\]\nend');
  assert.deepEqual(
    blocks.map((each) => [each.type, 'text' in each && each.text]),
    [
      ['paragraph', 'Thus'],
      ['code', '\\frac{1}{2}'],
      ['paragraph', 'end'],
    ],
  );
});
