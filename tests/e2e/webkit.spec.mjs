import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { greedy, site } from './support/browser.mjs';
import { answerTo, fox, oneLine, volcano } from './support/chat.mjs';
import { inWebKit, options } from './support/webkit.mjs';

const ENTER = '\ue007';
const desktop = { width: 1280, height: 900 };
/** The narrowest window that its browser has. */
const narrow = { width: 450, height: 844 };

const answers = (page) =>
  page.run(`[...document.querySelectorAll('.turn.assistant .prose')].map((each) => each.textContent)`);
const ready = (page) => page.wait(`document.querySelector('.meter .backend')?.textContent`);
const idle = (page) => page.wait(`document.querySelector('button[aria-label="Send"]')`);

async function open(page) {
  await page.goto(new URL('icon.svg', site).href);
  await page.run(`localStorage.setItem('inkling.settings', '${JSON.stringify(greedy)}')`);
  await page.goto(site);
  await ready(page);
}

async function ask(page, question) {
  await page.type('#composer-input', question + ENTER);
  await page.wait(`document.querySelector('.turn.assistant .prose')?.textContent`);
}

for (const [name, window] of Object.entries({ desktop, narrow })) {
  test(`WebKit, ${name}: it answers, keeps the conversation and opens a file`, options, () =>
    inWebKit(window, async (page) => {
      await open(page);
      await ask(page, fox);
      await idle(page);
      await page.reload();
      await ready(page);
      assert.deepEqual((await answers(page)).map(oneLine), [oneLine(answerTo(fox))]);
      await page.shot(`webkit-${name}`);

      await page.click('.model-button');
      // A card of no height is what a percentage of a height that is not known yet becomes here.
      const height = `document.querySelector('dialog').offsetHeight`;
      assert.ok((await page.wait(height)) > 300);
      await page.shot(`webkit-${name}-models`);
      const file = fileURLToPath(new URL('../../models/inkling-9m-chat-Q8_0.gguf', import.meta.url));
      await page.type('#model-file', file);
      await page.wait(`!document.querySelector('dialog')`);
      const overflow = `document.documentElement.scrollWidth - innerWidth`;
      assert.equal(await page.run(overflow), 0);
    }),
  );
}

test('WebKit: an answer goes on where the reader goes away and comes back', options, () =>
  inWebKit(desktop, async (page) => {
    await open(page);
    await ask(page, volcano);
    await page.goto(new URL('icon.svg', site).href);
    await page.back();
    await ready(page);
    await idle(page);
    const [text] = await answers(page);
    // Where the page was not kept but opened anew, what was written by then is.
    assert.ok(oneLine(answerTo(volcano)).startsWith(oneLine(text)) && text.length > 0, text);
  }),
);
