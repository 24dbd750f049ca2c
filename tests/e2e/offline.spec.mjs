import assert from 'node:assert/strict';
import { test } from 'node:test';
import { onPage } from './support/browser.mjs';
import { answers, answerTo, askAndWait, fox, oneLine, ready, volcano } from './support/chat.mjs';

test('after one visit the page works with the network cut, isolation and conversations included', () =>
  onPage({ expectErrors: true }, async (page, context) => {
    await ready(page);
    await askAndWait(page, volcano);
    await page.evaluate(() => navigator.serviceWorker.ready);
    const kept = await page.evaluate(async () => {
      const [name] = await caches.keys();
      const requests = await (await caches.open(name)).keys();
      return requests.map((request) => new URL(request.url).pathname.split('/').at(-1));
    });
    assert.ok(kept.includes('inkling-9m-chat-Q8_0.gguf') && kept.includes(''), kept.join(' '));
    assert.equal(kept.filter((file) => file.endsWith('.wasm')).length, 1, kept.join(' '));
    await context.setOffline(true);
    await page.reload();
    await ready(page);
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    await page.locator('.prose').waitFor();
    assert.deepEqual(await answers(page), [oneLine(answerTo(volcano))]);
    await page.getByRole('button', { name: 'New chat' }).click();
    await askAndWait(page, fox);
    assert.deepEqual(await answers(page), [oneLine(answerTo(fox))]);
  }));

test('the page forbids itself inline scripts, foreign scripts and foreign images', () =>
  onPage({ expectErrors: true, alsoAllowed: ['http://127.0.0.1:9'] }, async (page) => {
    const outcome = await page.evaluate(async () => {
      const blocked = [];
      document.addEventListener('securitypolicyviolation', (event) => blocked.push(event.effectiveDirective));
      const inline = document.createElement('script');
      inline.textContent = 'globalThis.escaped = true';
      document.body.append(inline);
      const foreign = document.createElement('script');
      foreign.src = 'http://127.0.0.1:9/x.js';
      document.body.append(foreign);
      const image = document.createElement('img');
      image.src = 'http://127.0.0.1:9/x.png';
      document.body.append(image);
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { blocked: blocked.sort(), escaped: globalThis.escaped === true };
    });
    assert.deepEqual(outcome, { blocked: ['img-src', 'script-src-elem', 'script-src-elem'], escaped: false });
  }));
