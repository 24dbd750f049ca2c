import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onPage, shot, site } from './support/browser.mjs';
import {
  answers,
  answerTo,
  ask,
  askAndWait,
  box,
  button,
  fox,
  idle,
  keptConversations,
  oneLine,
  questions,
  ready,
  volcano,
  watchWriting,
  written,
} from './support/chat.mjs';

test('a first visit: the page says what it is, and a click on a prompt streams the known answer', () =>
  onPage({}, async (page) => {
    await page.getByRole('heading', { level: 1 }).waitFor();
    assert.match(await page.locator('.lead').innerText(), /9 million parameters.*sums are often wrong/s);
    await button(page, fox).click();
    await page.locator('.facts').waitFor();
    assert.deepEqual(await answers(page), [oneLine(answerTo(fox))]);
    assert.match(await page.locator('.meter').innerText(), /CPU.*tokens\/s.*of 512/s);
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'composer-input');
  }));

test('a message that is written while the model loads is answered when it is there', () =>
  onPage({}, async (page) => {
    await ask(page, 'Hello!');
    await idle(page);
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  }));

/** So hot that the model hardly ever comes to an end: its answers fill the context, and there is time to stop it. */
const endless = { temperature: 2, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };
const tokens = async (page) =>
  Number.parseInt((await page.locator('.facts').innerText()).match(/(\d+) token/)[1], 10);

test('text streams in, and stop keeps what is there', () =>
  onPage({ settings: { ...endless, seed: '1' } }, async (page) => {
    await ready(page);
    await watchWriting(page, { stopAt: 3 });
    await askAndWait(page, fox);
    await page.getByText('Stopped.').waitFor();
    const pieces = await written(page);
    assert.ok(pieces.length >= 3, `${pieces.length} pieces`);
    assert.ok((await answers(page))[0].startsWith(oneLine(pieces[0])));
    assert.ok((await tokens(page)) < 480);
    await askAndWait(page, 'Hello!');
    assert.equal((await answers(page)).length, 2);
  }));

test('Escape stops an answer', () =>
  onPage({ settings: { ...endless, seed: '1' } }, async (page) => {
    await ready(page);
    await watchWriting(page, { escapeAt: 1 });
    await askAndWait(page, fox);
    await page.getByText('Stopped.').waitFor();
    assert.ok((await tokens(page)) < 480);
  }));

test('an answer that a reload cuts off is kept as far as it came', () =>
  onPage({ settings: endless }, async (page) => {
    await ready(page);
    await watchWriting(page, { reloadAt: 3 });
    await ask(page, fox);
    await page.getByText('Cut off when the page closed.').waitFor();
    assert.ok((await answers(page))[0].length > 0);
    await button(page, 'Write another answer').click();
    await page.locator('.facts', { hasText: 'token' }).waitFor();
  }));

test('an edited message replaces all that followed', () =>
  onPage({}, async (page) => {
    await askAndWait(page, fox);
    await askAndWait(page, 'Hello!');
    await page.locator('.turn.user').first().hover();
    await button(page, 'Edit this message').first().click();
    const editor = page.getByLabel('Edit your message');
    assert.equal(await editor.inputValue(), fox);
    await editor.fill(volcano);
    await button(page, 'Save and answer').click();
    await page.locator('.facts').waitFor();
    assert.deepEqual(await questions(page), [volcano]);
    assert.deepEqual(await answers(page), [oneLine(answerTo(volcano))]);
  }));

test('retry writes another answer in place of the last', () =>
  onPage({ settings: { temperature: 1.5, topK: 0, topP: 1, minP: 0 } }, async (page) => {
    await askAndWait(page, fox);
    const [before] = await answers(page);
    await button(page, 'Write another answer').click();
    await page.locator('.facts').waitFor({ state: 'detached' });
    await page.locator('.facts').waitFor();
    const after = await answers(page);
    assert.equal(after.length, 1);
    assert.notEqual(after[0], before);
  }));

test('conversations survive a reload, and can be renamed, deleted and brought back', () =>
  onPage({}, async (page) => {
    await askAndWait(page, volcano);
    await button(page, 'New chat').click();
    await page.getByRole('heading', { level: 1 }).waitFor();
    await askAndWait(page, 'Hello!');
    await page.reload();
    await page.locator('.prose').waitFor();
    assert.deepEqual(await questions(page), ['Hello!']);
    const entries = page.locator('.entry .title');
    assert.deepEqual(await entries.allInnerTexts(), ['Hello!', volcano]);
    await entries.nth(1).click();
    assert.deepEqual(await answers(page), [oneLine(answerTo(volcano))]);

    await page.locator('.entry').nth(1).hover();
    await button(page, `Rename “${volcano}”`).click();
    await page.getByLabel('Title of the conversation').fill('Mountains');
    await page.keyboard.press('Enter');
    await page.locator('.entry', { hasText: 'Mountains' }).hover();
    await button(page, 'Delete “Mountains”').click();
    await page.getByText('“Mountains” was deleted.').waitFor();
    assert.deepEqual(await entries.allInnerTexts(), ['Hello!']);
    await button(page, 'Undo').click();
    assert.deepEqual(await entries.allInnerTexts(), ['Hello!', 'Mountains']);
    while ((await keptConversations(page)) < 2) await page.waitForTimeout(50);
    await page.reload();
    await entries.nth(1).waitFor();
    assert.deepEqual(await entries.allInnerTexts(), ['Hello!', 'Mountains']);
  }));

test('a conversation that outgrows the context goes on, and says that the oldest turns left', () =>
  onPage({ settings: { temperature: 0, maxTokens: 60 } }, async (page) => {
    const long = `Here is a long text. ${'The fox ran over the hill and came home again. '.repeat(14)}`;
    await askAndWait(page, `${long} Hello!`);
    await askAndWait(page, `${long} What is the opposite of hot?`);
    await askAndWait(page, `${long} Who are you?`);
    await page
      .getByText(/no longer fitted into the model’s context/)
      .last()
      .waitFor();
    await askAndWait(page, 'Hello!');
    assert.equal((await answers(page)).length, 4);
    assert.equal(await page.locator('.trouble').count(), 0);
  }));

test('a message longer than the whole context is refused in words, and the chat goes on', () =>
  onPage({}, async (page) => {
    await askAndWait(page, 'The fox ran over the hill and came home again. '.repeat(80));
    await page.getByText('This message is longer than the model’s context.').waitFor();
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  }));

test('what one tab writes is in the other, and neither overwrites the other', () =>
  onPage({}, async (page, where) => {
    await ready(page);
    await askAndWait(page, 'Hello!');
    const other = await where.newPage();
    await other.goto(site);
    await ready(other);
    await other.locator('.entry .title').first().click();
    await askAndWait(other, 'Who are you?');
    await page.locator('.turn.assistant').nth(1).locator('.facts').waitFor();
    await askAndWait(page, 'What is the opposite of hot?');
    assert.equal((await answers(page)).length, 3);
    await other.locator('.turn.assistant').nth(2).locator('.facts').waitFor();
    assert.deepEqual(await answers(other), await answers(page));
    await other.getByRole('button', { name: /^Delete/ }).click();
    await page.locator('.welcome').waitFor();
    await page.locator('.entry').waitFor({ state: 'detached' });
  }));

test('without storage the app works, and says that nothing is kept', () => {
  const before = () => Object.defineProperty(globalThis, 'indexedDB', { value: undefined });
  return onPage({ before }, async (page) => {
    await page.getByText(/does not let this page keep anything/).waitFor();
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  });
});

test('settings hold over a reload, and reset', () =>
  onPage({}, async (page) => {
    await button(page, 'Settings').click();
    await page.getByLabel('Liveliness').fill('1.2');
    await page.getByLabel('Longest answer').fill('5');
    await page.getByLabel('Longest answer').press('Tab');
    await page.getByRole('dialog').press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.reload();
    await askAndWait(page, fox);
    await page.getByText('The answer reached the length you allow.').waitFor();
    assert.match(await page.locator('.facts').innerText(), /5 tokens/);
    await button(page, 'Settings').click();
    assert.equal(await page.getByLabel('Liveliness').inputValue(), '1.2');
    await button(page, 'Reset all but the instructions').click();
    assert.equal(await page.getByLabel('Liveliness').inputValue(), '0.7');
    assert.equal(await page.getByLabel('Longest answer').inputValue(), '');
    await shot(page, 'settings');
  }));

test('what is typed does not go when an answer ends, and Shift+Enter breaks the line', () =>
  onPage({}, async (page) => {
    await ready(page);
    await ask(page, fox);
    await box(page).pressSequentially('One');
    await box(page).press('Shift+Enter');
    await box(page).pressSequentially('Two');
    await idle(page);
    assert.equal(await box(page).inputValue(), 'One\nTwo');
  }));
