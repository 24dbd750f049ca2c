import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { onPage, shot } from './support/browser.mjs';
import { answers, answerTo, askAndWait, button, oneLine, ready } from './support/chat.mjs';
import { startModelServer } from './support/models.mjs';

const elsewhere = await startModelServer();
const options = { alsoAllowed: [elsewhere], expectErrors: true };

async function openAddress(page, path) {
  await page.locator('.model-button').click();
  await page.getByLabel('or give its address').fill(elsewhere + path);
  await button(page, 'Open').click();
}

/** The model that was open before still answers. */
async function stillUsable(page) {
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  await askAndWait(page, 'Hello!');
  assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
}

const failures = [
  ['a 404', '/missing.gguf', /There is no file at this address \(404\)/],
  ['a refusal', '/private.gguf', /refused to give out the file \(403\).*Download the file yourself/s],
  ['a web page instead of a model', '/page.gguf', /This is not a GGUF model.*leads to the file itself/s],
  ['a download that breaks off', '/cut.gguf', /The file is incomplete|could not be reached/],
  ['a file that is cut short', '/half.gguf', /The file is incomplete/],
];

for (const [name, path, message] of failures) {
  test(`${name} is told clearly, and the open model stays`, () =>
    onPage(options, async (page) => {
      await ready(page);
      await openAddress(page, path);
      const alert = page.getByRole('alert');
      await alert.waitFor();
      assert.match(await alert.innerText(), message);
      await shot(page, `trouble-${path.slice(1, -5)}`);
      await stillUsable(page);
    }));
}

test('a server that is not there is told clearly', () =>
  onPage({ alsoAllowed: ['http://127.0.0.1:9'], expectErrors: true }, async (page) => {
    await ready(page);
    await page.locator('.model-button').click();
    await page.getByLabel('or give its address').fill('http://127.0.0.1:9/model.gguf');
    await button(page, 'Open').click();
    await page.getByText('The server could not be reached.').waitFor();
    await stillUsable(page);
  }));

test('text that is no address is refused before anything is fetched', () =>
  onPage({}, async (page) => {
    await page.locator('.model-button').click();
    await page.getByLabel('or give its address').fill('model.gguf');
    await button(page, 'Open').click();
    await page.getByText(/That is not an address/).waitFor();
  }));

test('a broken file from disk is told clearly, and the open model stays', () =>
  onPage(options, async (page) => {
    await ready(page);
    await page.locator('.model-button').click();
    await page.locator('#model-file').setInputFiles({
      name: 'broken.gguf',
      mimeType: '',
      buffer: Buffer.from('GGUF but not really'.repeat(50)),
    });
    await page.getByRole('alert').waitFor();
    assert.match(await page.getByRole('alert').innerText(), /not a GGUF model|damaged|incomplete/);
    await stillUsable(page);
  }));

test('a model that writes no text, and a split one without all its files, are told clearly', () =>
  onPage(options, async (page) => {
    await ready(page);
    await page.locator('.model-button').click();
    const path = (name) => fileURLToPath(new URL(`../fixtures/models/${name}.gguf`, import.meta.url));
    const open = (...names) => page.locator('#model-file').setInputFiles(names.map(path));
    await open('bert');
    const alert = page.getByRole('alert');
    await alert.filter({ hasText: 'This model does not write text.' }).waitFor();
    await open('container-split-00001-of-00003', 'container-split-00002-of-00003');
    await alert.filter({ hasText: 'Parts of this model are missing' }).waitFor();
    await shot(page, 'missing-parts');
    await stillUsable(page);
  }));

test('a model from an address and a file from disk can be opened', () =>
  onPage({ alsoAllowed: [elsewhere] }, async (page) => {
    await ready(page);
    await openAddress(page, '/good.gguf');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await page.locator('.model-button').click();
    const buffer = readFileSync(new URL('../../models/inkling-9m-chat-Q8_0.gguf', import.meta.url));
    await page.locator('#model-file').setInputFiles({ name: 'mine.gguf', mimeType: '', buffer });
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
    await page.locator('.model-button').click();
    await button(page, 'Go back to the small model').click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  }));

test('a file dropped on the page is opened', () =>
  onPage(options, async (page) => {
    await ready(page);
    const transfer = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(['not a model at all, just text'], 'dropped.gguf'));
      return data;
    });
    await page.dispatchEvent('.stage', 'dragover', { dataTransfer: transfer });
    await page.getByText('Drop a GGUF file to open it').waitFor();
    await page.dispatchEvent('.stage', 'drop', { dataTransfer: transfer });
    await page.getByText('This is not a GGUF model.').waitFor();
    assert.match(await page.locator('.bar').innerText(), /is still open and goes on answering/);
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  }));

test('a download shows how far it is and can be cancelled', () =>
  onPage(options, async (page) => {
    await ready(page);
    await openAddress(page, '/slow.gguf');
    await page.getByText(/Downloading, \d.* of 10\.5 MB/).waitFor();
    await shot(page, 'downloading');
    await button(page, 'Cancel').click();
    await page.getByLabel('or give its address').waitFor();
    assert.equal(await page.getByRole('alert').count(), 0);
    await stillUsable(page);
  }));

const modelParameter = (path) => `?model=${encodeURIComponent(elsewhere + path)}`;

test('?model= opens that model, from elsewhere or from beside the page', async () => {
  await onPage({ alsoAllowed: [elsewhere], path: modelParameter('/good.gguf') }, async (page) => {
    await ready(page);
    assert.equal(await page.getByText(/9 million parameters, thousands/).count(), 0);
    await askAndWait(page, 'Hello!');
  });
  await onPage({ path: '?model=models/inkling-9m-chat-Q8_0.gguf' }, (page) => ready(page));
});

test('when ?model= fails or is cancelled, the small model answers', async () => {
  await onPage({ ...options, path: modelParameter('/missing.gguf') }, async (page) => {
    await page.getByText('There is no file at this address (404).').waitFor();
    await ready(page);
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  });
  await onPage({ ...options, path: modelParameter('/slow.gguf') }, async (page) => {
    await page.locator('.bar', { hasText: /Downloading, \d.* of 10\.5 MB/ }).waitFor();
    await button(page, 'Cancel').click();
    await ready(page);
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  });
});
