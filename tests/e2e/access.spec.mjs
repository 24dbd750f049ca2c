// For everyone: small screens, keyboards, screen readers, dark rooms.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessibilityFindings, onPage, phone, shot } from './support/browser.mjs';
import { answers, ask, askAndWait, box, button, fox, idle, ready, volcano } from './support/chat.mjs';

const looks = [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { ...phone, colorScheme: 'light' }],
];

for (const [name, look] of looks) {
  test(`axe finds nothing serious (${name})`, () =>
    onPage(look, async (page) => {
      await ready(page);
      const check = async (state) => {
        await shot(page, `${name}-${state}`);
        assert.deepEqual(await accessibilityFindings(page), [], state);
      };
      await check('first-screen');
      await askAndWait(page, fox);
      await askAndWait(page, volcano);
      await check('conversation');
      await page.getByRole('button', { name: 'Edit this message' }).first().click();
      await check('editing');
      await button(page, 'Cancel').click();
      await button(page, 'Settings').click();
      await check('settings');
      await page.keyboard.press('Escape');
      await page.locator('.model-button').click();
      await page.getByLabel('or give its address').fill('nonsense');
      await button(page, 'Open').click();
      await check('model');
      await page.keyboard.press('Escape');
      if (name !== 'phone') return;
      await button(page, 'Conversations').click();
      await check('conversations');
    }));
}

test('dark mode follows the system and the choice', () =>
  onPage({ colorScheme: 'dark' }, async (page) => {
    const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await background();
    await button(page, 'Light colours').click();
    const light = await background();
    assert.notEqual(dark, light);
    await page.reload();
    assert.equal(await background(), light);
    await page.emulateMedia({ colorScheme: 'light' });
    await button(page, 'Dark colours').click();
    assert.equal(await background(), dark);
  }));

test('360 pixels: nothing scrolls sideways, every control can be reached and is large enough', () =>
  onPage(phone, async (page) => {
    const fits = async (where) => {
      const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.deepEqual(width, [360, 360], where);
      const small = await page.evaluate(() => {
        const scope = document.querySelector('dialog[open]') ?? document;
        return [...scope.querySelectorAll('button, input:not([type=range]), textarea')]
          .filter((element) => element.checkVisibility() && !element.closest('.prose'))
          .filter((element) => !element.classList.contains('link')) // In running text, as WCAG allows.
          .map((element) => [element.getBoundingClientRect(), element.outerHTML.slice(0, 120)])
          .filter(([area]) => area.height < 44 || area.width < 44 || area.left < 0 || area.right > innerWidth)
          .map(([area, html]) => `${Math.round(area.width)}×${Math.round(area.height)} ${html}`);
      });
      assert.deepEqual(small, [], where);
    };
    await ready(page);
    await fits('first screen');
    await askAndWait(page, fox);
    await fits('conversation');
    const open = async (opener) => {
      await opener.tap();
      await page.getByRole('dialog').waitFor();
    };
    await open(button(page, 'Settings'));
    await fits('settings');
    await button(page, 'Close settings').tap();
    await open(page.locator('.model-button'));
    await fits('model');
    await button(page, 'Close model').tap();
    await open(button(page, 'Conversations'));
    await fits('conversations');
    await page.locator('.entry .title').tap();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    const area = await box(page).boundingBox();
    assert.ok(area && area.y + area.height <= 740, 'the message box is on the screen');
  }));

test('keyboard only: from the first screen to an answer, an edit and the settings, and the focus never jumps', () =>
  onPage({}, async (page) => {
    await ready(page);
    const focused = () =>
      page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.id);
    const tabTo = async (label, key = 'Tab') => {
      for (let count = 0; count < 40; count++) {
        if ((await focused()) === label) return;
        await page.keyboard.press(key);
      }
      assert.fail(`${label} cannot be reached with ${key}`);
    };
    await page.keyboard.type(volcano);
    await page.keyboard.press('Enter');
    await idle(page);
    assert.equal(await focused(), 'composer-input');
    assert.equal((await answers(page)).length, 1);

    await tabTo('Edit this message', 'Shift+Tab');
    const ring = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(ring, 'solid');
    await page.keyboard.press('Enter');
    assert.equal(await focused(), 'Edit your message');
    await page.keyboard.press('Escape');
    assert.equal(await focused(), 'composer-input');

    await tabTo('Settings', 'Shift+Tab');
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'Settings' }).waitFor();
    for (let count = 0; count < 40; count++) {
      await page.keyboard.press('Tab');
      const inside = await page.evaluate(
        () => document.activeElement === document.body || !!document.activeElement?.closest('dialog'),
      );
      assert.ok(inside, 'the focus left the dialog');
    }
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.equal(await focused(), 'Settings');
  }));

test('screen readers hear whole sentences, each once', () =>
  onPage({}, async (page) => {
    await ready(page);
    await page.evaluate(() => {
      globalThis.spoken = [];
      const region = document.querySelector('[aria-live="polite"][aria-atomic]');
      new MutationObserver(() => globalThis.spoken.push(region.textContent)).observe(region, {
        subtree: true,
        childList: true,
        characterData: true,
      });
    });
    await askAndWait(page, volcano);
    const [answer] = await answers(page);
    await page.waitForFunction((text) => globalThis.spoken.join(' ') === text, answer);
    const spoken = await page.evaluate(() => globalThis.spoken);
    for (const part of spoken) assert.match(part, /[.!?]$/);
    assert.equal(await page.locator('[role=log]').getAttribute('aria-live'), 'off');
  }));

test('the view follows an answer at the end, and stays when the reader scrolled up', () =>
  onPage({ viewport: { width: 700, height: 420 } }, async (page) => {
    await askAndWait(page, fox);
    await askAndWait(page, volcano);
    const left = () =>
      page.evaluate(() => {
        const box = document.querySelector('.scroller');
        return Math.round(box.scrollHeight - box.scrollTop - box.clientHeight);
      });
    /** The last lines may still be on their way to the screen. */
    const atEnd = async (when) => {
      for (let i = 0; i < 40 && (await left()) >= 4; i += 1) await page.waitForTimeout(50);
      assert.ok((await left()) < 4, when);
    };
    await atEnd('at the end');
    await page.locator('.scroller').hover();
    await page.mouse.wheel(0, -300);
    await button(page, 'Jump to latest').waitFor();
    const before = await left();
    assert.ok(before > 100);
    await button(page, 'Jump to latest').click();
    await atEnd('at the end again');
    await ask(page, fox);
    await idle(page);
    await atEnd('followed the answer');
  }));
