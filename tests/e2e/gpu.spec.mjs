// The page with a WebGPU adapter, a software one: right, and slow.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessibilityFindings, greedy, onPage, patiently, phone, shot } from './support/browser.mjs';
import {
  answered,
  answers,
  answerTo,
  ask,
  askAndWait,
  button,
  idle,
  oneLine,
  ready,
} from './support/chat.mjs';

const onGpu = { webgpu: true, settings: { ...greedy, backend: 'gpu' } };

const restoring = 'The GPU was lost. The model is being restored.';

/** In the page: presses Stop as soon as the bar about the lost GPU is there, and notes what that says. */
function stopRestoring() {
  const watch = new MutationObserver(() => {
    const bar = document.querySelector('.bar');
    if (!bar) return;
    watch.disconnect();
    globalThis.told = bar.innerText;
    bar.querySelector('button').click();
  });
  watch.observe(document.body, { subtree: true, childList: true });
}

async function chooses(page, name) {
  await button(page, 'Settings').click();
  await page.getByLabel(name, { exact: true }).check();
}

test('the embedded model answers on the GPU, word for word as it should', () =>
  onPage(onGpu, async (page) => {
    await ready(page, 'WebGPU, checked');
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
    await shot(page, 'gpu-desktop');
    await page.locator('.model-button').click();
    const facts = page.getByRole('dialog');
    await facts.getByText('WebGPU').waitFor();
    assert.match(await facts.innerText(), /On .*swiftshader/i);
    await shot(page, 'gpu-model');
  }));

test('what computes is chosen in the settings, and the model opens again on it', () =>
  onPage({ ...onGpu, ...phone }, async (page) => {
    await ready(page, 'WebGPU');
    await chooses(page, 'CPU');
    await ready(page, 'CPU');
    await page.getByText('Computes on').scrollIntoViewIfNeeded();
    assert.deepEqual(await accessibilityFindings(page), []);
    await shot(page, 'gpu-settings-phone');
    await page.keyboard.press('Escape');
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
    await chooses(page, 'GPU');
    await ready(page, 'WebGPU');
    await page.keyboard.press('Escape');
    await shot(page, 'gpu-phone');
  }));

test('automatic does not take a GPU that only imitates one, and says so', () =>
  onPage({ webgpu: true, settings: { ...greedy, backend: 'auto' } }, async (page) => {
    await ready(page, 'CPU');
    const story = await page.locator('.meter .backend').getAttribute('title');
    assert.match(story, /^The GPU is not used: .*swiftshader computes on the CPU itself\.$/i);
    await page.locator('.model-button').click();
    await page.getByText('The GPU is not used').waitFor();
    await shot(page, 'gpu-not-used');
  }));

test('where there is no GPU, choosing it is refused in plain words, and automatic takes the CPU', () =>
  onPage({ settings: { ...greedy, backend: 'gpu' }, expectErrors: true }, async (page) => {
    await page.getByText('This browser offers no GPU.').waitFor();
    await shot(page, 'gpu-none');
    await chooses(page, 'Automatic');
    await ready(page, 'CPU');
    await page.keyboard.press('Escape');
    await askAndWait(page, 'Hello!');
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
  }));

test('a GPU that is lost is replaced in the middle of an answer, and the second time by the CPU, which is told', () =>
  onPage({ ...onGpu, ownBrowser: true, expectErrors: true }, async (page, where) => {
    const devtools = await where.browser().newBrowserCDPSession();
    const crash = () => devtools.send('Browser.crashGpuProcess').catch(() => {});
    await ready(page, 'WebGPU, checked');
    await ask(page, 'Hello!');
    await patiently(page, () => page.locator('.prose.live').waitFor());
    const told = [
      patiently(page, () => page.getByText(restoring).waitFor()),
      ready(page, 'Restoring the model'),
    ];
    await crash();
    await Promise.all(told);
    await shot(page, 'gpu-restoring-desktop');
    await answered(page);
    await idle(page);
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
    await ready(page, 'WebGPU, checked');
    await crash();
    await askAndWait(page, 'Who are you?');
    await ready(page, 'CPU');
    const story = await page.locator('.meter .backend').getAttribute('title');
    assert.match(story, /^The GPU is not used: .*lost again within a minute/);
    await page.getByText('The GPU was lost. The CPU goes on.').waitFor();
    await shot(page, 'gpu-lost-desktop');
    await page.setViewportSize(phone.viewport);
    await shot(page, 'gpu-lost-phone');
    assert.deepEqual(await accessibilityFindings(page), []);
  }));

test('restoring a GPU can be stopped, which keeps the text so far, and the next question takes it up again', () =>
  onPage({ ...onGpu, ownBrowser: true, expectErrors: true }, async (page, where) => {
    const devtools = await where.browser().newBrowserCDPSession();
    await ready(page, 'WebGPU, checked');
    await ask(page, 'Hello!');
    await patiently(page, () => page.locator('.prose.live').waitFor());
    await page.evaluate(stopRestoring);
    await devtools.send('Browser.crashGpuProcess').catch(() => {});
    await patiently(page, () => page.getByText('Stopped.').waitFor());
    await idle(page);
    assert.ok((await page.evaluate(() => globalThis.told)).includes(restoring));
    assert.equal(await page.locator('.bar').count(), 0);
    const [begun] = await answers(page);
    assert.ok(begun && oneLine(answerTo('Hello!')).startsWith(begun), begun);
    await button(page, 'Write another answer').click();
    await answered(page);
    await idle(page);
    assert.deepEqual(await answers(page), [oneLine(answerTo('Hello!'))]);
    await ready(page, 'WebGPU, checked');
  }));
