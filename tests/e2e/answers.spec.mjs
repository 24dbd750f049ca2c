// What a model writes is not to be trusted. Answers are put into the storage as a model could have written them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessibilityFindings, onPage, phone, shot } from './support/browser.mjs';
import { button, keepConversation, ready } from './support/chat.mjs';

const harmless = `### A heading

Some *emphasis*, **strength** and \`code\`, with [a link](https://example.org/page) and <mail@example.org>.

\`\`\`python
def add(a, b):
    return a + b  # <b>not bold</b>
\`\`\`

| Method | Time |
| --- | ---: |
| Bubble sort | n² |

1. one
   - nested
2. two

> A quotation.`;

const hostile = `[click](javascript:globalThis.escaped=1) [data](data:text/html,x) [relative](/x)

![picture](https://example.org/spy.png) <img src=x onerror="globalThis.escaped=1">

<script>globalThis.escaped = 1</script>

<iframe src="https://example.org"></iframe> [name](https://bank.example@evil.example/)`;

test('Markdown is shown as such, links open elsewhere and safely, code is copied as it stands', () =>
  onPage({ permissions: ['clipboard-read', 'clipboard-write'] }, async (page) => {
    await keepConversation(page, harmless);
    const prose = page.locator('.prose');
    await prose.getByRole('heading', { name: 'A heading' }).waitFor();
    const link = prose.getByRole('link', { name: /a link/ });
    assert.equal(await link.getAttribute('href'), 'https://example.org/page');
    assert.equal(await link.getAttribute('target'), '_blank');
    assert.match(await link.getAttribute('rel'), /noopener.*noreferrer/);
    assert.equal(await prose.locator('table td').count(), 2);
    assert.equal(await prose.locator('ol > li > ul > li').innerText(), 'nested');
    assert.equal(await prose.locator('figcaption span').first().innerText(), 'python');
    const copied = () => page.evaluate(() => navigator.clipboard.readText());
    await button(page, 'Copy code').click();
    assert.equal(await copied(), 'def add(a, b):\n    return a + b  # <b>not bold</b>');
    await button(page, 'Copy this answer').click();
    assert.equal(await copied(), harmless);
    assert.deepEqual(await accessibilityFindings(page), []);
    await shot(page, 'markdown');
  }));

test('on a phone, wide code and tables scroll by themselves', () =>
  onPage(phone, async (page) => {
    const word = 'x'.repeat(200);
    const table = `|${'a|'.repeat(30)}\n|${'-|'.repeat(30)}`;
    await keepConversation(page, `\`\`\`\n${word}\n\`\`\`\n\n${table}\n\n${word}`);
    await page.locator('.prose table').waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
    assert.ok(await page.evaluate(() => document.querySelector('.scroller').scrollWidth <= 360));
  }));

test('hostile Markdown does nothing and fetches nothing', () =>
  onPage({}, async (page) => {
    await keepConversation(page, hostile);
    await page.locator('.prose').waitFor();
    await ready(page);
    const found = await page.evaluate(() => ({
      escaped: 'escaped' in globalThis,
      active: document.querySelectorAll('.prose :is(img, script, iframe, object, embed, form, style)').length,
      links: [...document.querySelectorAll('.prose a')].map((link) => link.href),
      handlers: [...document.querySelectorAll('.prose *')].flatMap((element) =>
        element.getAttributeNames().filter((name) => name.startsWith('on')),
      ),
    }));
    // The picture became a link to it, which nobody follows unasked.
    assert.deepEqual(found, {
      escaped: false,
      active: 0,
      links: ['https://example.org/spy.png'],
      handlers: [],
    });
  }));
