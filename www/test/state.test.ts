// There is no IndexedDB here: every change must work without storage, and say so once.
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { onStorageFailure } from '../src/history.ts';
import * as state from '../src/state.ts';

let failures = 0;
onStorageFailure(() => failures++);

beforeEach(() => {
  state.conversations.value = [];
  state.show(null);
});

const contents = (id: string) => state.find(id)?.messages.map((each) => each.content);

test('the first question begins a conversation, the next one goes on', () => {
  const id = state.addQuestion('Hello there');
  assert.equal(state.addQuestion('And now?'), id);
  assert.deepEqual(contents(id), ['Hello there', 'And now?']);
  assert.equal(state.current.value?.title, 'Hello there');
});

test('editing a question drops what followed', () => {
  const id = state.addQuestion('one');
  state.addQuestion('two');
  state.addQuestion('three');
  const second = state.find(id)!.messages[1]!;
  state.editQuestion(id, second.id, 'two again');
  assert.deepEqual(contents(id), ['one', 'two again']);
});

test('editing the first question renames the conversation unless it was renamed by hand', () => {
  const id = state.addQuestion('one');
  state.editQuestion(id, state.find(id)!.messages[0]!.id, 'other');
  assert.equal(state.find(id)?.title, 'other');
  state.rename(id, ' Mine ');
  state.editQuestion(id, state.find(id)!.messages[0]!.id, 'third');
  assert.equal(state.find(id)?.title, 'Mine');
});

test('a deleted conversation comes back where it was', () => {
  const first = state.addQuestion('first');
  state.show(null);
  const second = state.addQuestion('second');
  state.update(second, (each) => ({ ...each }));
  const undo = state.remove(second);
  assert.equal(state.currentId.value, null);
  assert.deepEqual(
    state.conversations.value.map((each) => each.id),
    [first],
  );
  undo?.();
  assert.equal(state.currentId.value, second);
  assert.equal(state.conversations.value.length, 2);
});

test('an answer that was cut off by a reload says so', () => {
  const id = state.addQuestion('q');
  const half = { id: 'a', role: 'assistant' as const, content: 'Onc', createdAt: 0 };
  state.update(id, (each) => ({ ...each, messages: [...each.messages, half] }));
  assert.equal(state.closeInterrupted(state.find(id)!).messages[1]?.end, 'interrupted');
  const closed = state.closeInterrupted(state.find(id)!, { messageId: 'a', text: 'Once upon' });
  assert.equal(closed.messages[1]?.content, 'Once upon');
  assert.equal(state.closeInterrupted(closed), closed);
});

test('titles are cut at a word', () => {
  assert.equal(state.titleFrom('  Short one\nsecond line'), 'Short one');
  assert.equal(
    state.titleFrom('A question that is so long that it does not fit into any list of titles'),
    'A question that is so long that it does not fit…',
  );
  assert.equal(state.titleFrom(''), 'New chat');
});

test('missing storage is told once', async () => {
  state.addQuestion('x');
  await state.restore();
  assert.equal(failures, 1);
});
