import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SentenceAnnouncer, speakable } from '../src/announce.ts';

function speak(text: string): string[] {
  const announcer = new SentenceAnnouncer();
  const spoken: string[] = [];
  for (let end = 1; end <= text.length; end++) {
    const part = announcer.push(text.slice(0, end));
    if (part) spoken.push(part);
  }
  const rest = announcer.finish(text);
  if (rest) spoken.push(rest);
  return spoken;
}

test('whole sentences are spoken, each once', () => {
  assert.deepEqual(speak('One two. "Three?" she asked. Fo'), ['One two.', '"Three?"', 'she asked.', 'Fo']);
  assert.deepEqual(speak('Pi is 3.14 or so. Yes.'), ['Pi is 3.14 or so.', 'Yes.']);
  assert.deepEqual(speak('これは文です。次です。'), ['これは文です。', '次です。']);
  assert.deepEqual(speak(''), []);
});

test('paragraphs and list items end sentences too', () => {
  assert.deepEqual(speak('A title\n\n- one\n- two\n'), ['A title', 'one', 'two']);
});

test('marks are not spoken', () => {
  assert.equal(speakable('## A **bold** [link](https://example.org) and `code`'), 'A bold link and code');
  assert.equal(speakable('```js\nlet a;\n```'), 'let a;');
});
