// The chat app in words: what a reader does, and what they see.
import { readFileSync } from 'node:fs';
import { patiently } from './browser.mjs';

const known = JSON.parse(
  readFileSync(new URL('../../../models/inkling-9m-chat-Q8_0.greedy.json', import.meta.url), 'utf8'),
).cases;

/** What the embedded model answers to a question as the first of a conversation, greedily. */
export const answerTo = (question) => known.find((each) => each.user === question).text;

export const fox = 'Tell me a short story about a fox.';
export const volcano = 'Explain what a volcano is.';

export const box = (page) => page.getByLabel('Message', { exact: true });
export const button = (page, name) => page.getByRole('button', { name, exact: true });

/** Waits until the model is open on the CPU, or on what else the meter is to say. */
export const ready = (page, on = 'CPU') =>
  patiently(page, () => page.locator('.meter .backend', { hasText: on }).waitFor());

/** Waits until no answer is being written. */
export const idle = (page) => patiently(page, () => button(page, 'Send').waitFor());

/** Waits until an answer is complete: the first, or that of a number. */
export const answered = (page, index = 0) =>
  patiently(page, () => page.locator('.turn.assistant').nth(index).locator('.facts').waitFor());

export async function ask(page, text) {
  await box(page).fill(text);
  await box(page).press('Enter');
}

/** Asks, and waits for the whole answer. */
export async function askAndWait(page, text) {
  const before = await page.locator('.turn.assistant').count();
  await ask(page, text);
  await answered(page, before);
  await idle(page);
}

/**
 * From now on, notes each state of a growing answer. At the count given, presses Stop or the key Escape, or reloads.
 */
export const watchWriting = (page, end = {}) =>
  page.evaluate(({ stopAt, escapeAt, reloadAt }) => {
    globalThis.seen = [];
    new MutationObserver(() => {
      const text = document.querySelector('.prose.live')?.textContent ?? '';
      if (!text || text === globalThis.seen.at(-1)) return;
      const count = globalThis.seen.push(text);
      if (count === stopAt) document.querySelector('button[aria-label="Stop"]').click();
      if (count === reloadAt) location.reload();
      if (count !== escapeAt) return;
      const key = new KeyboardEvent('keydown', { key: 'Escape', bubbles: true });
      document.activeElement.dispatchEvent(key);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, end);

/** What `watchWriting` noted. */
export const written = (page) => page.evaluate(() => globalThis.seen);

/** How many conversations the browser's storage holds. */
export const keptConversations = (page) =>
  page.evaluate(async () => {
    const done = (request) => new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
    const database = await done(indexedDB.open('inkling'));
    const count = await done(database.transaction('conversations').objectStore('conversations').count());
    database.close();
    return count;
  });

/** Stores a conversation with one answer and shows it. */
export async function keepConversation(page, answer) {
  await page.getByRole('heading', { level: 1 }).waitFor(); // The page has made its storage.
  await page.evaluate(async (content) => {
    const done = (request, event = 'onsuccess') =>
      new Promise((resolve) => (request[event] = () => resolve(request.result)));
    const database = await done(indexedDB.open('inkling'));
    const change = database.transaction('conversations', 'readwrite');
    change.objectStore('conversations').put({
      id: 'kept',
      title: 'Kept',
      createdAt: 1,
      updatedAt: 1,
      messages: [
        { id: 'q', role: 'user', content: 'Question', createdAt: 1 },
        { id: 'a', role: 'assistant', content, createdAt: 1, end: 'stop', model: 'A model' },
      ],
    });
    await done(change, 'oncomplete');
    database.close();
    sessionStorage.setItem('inkling.current', 'kept');
  }, answer);
  await page.reload();
}

/** What was asked, in order. */
export const questions = (page) => page.locator('.asked').allInnerTexts();

/** What was answered, in order, as plain text. */
export async function answers(page) {
  const texts = await page.locator('.turn.assistant .prose').allInnerTexts();
  return texts.map((text) => text.replace(/\s+/g, ' ').trim());
}

export const oneLine = (text) => text.replace(/\s+/g, ' ').trim();
