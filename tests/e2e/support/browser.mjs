// A Chromium for the cases, and pages in it that report every request that leaves this machine and every error.
//
// INKLING_URL  address of the built page (required)
// CHROMIUM     the browser (default /usr/bin/chromium)
// SHOTS        folder for screenshots (default target/shots)
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { launch } from '../../../xtask/browser/chromium.mjs';

const root = fileURLToPath(new URL('../../..', import.meta.url));
export const shots = process.env.SHOTS ?? join(root, 'target', 'shots');
const axeSource = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** Address of the page under test. */
export const site = process.env.INKLING_URL ?? '';
if (!site)
  throw new Error('INKLING_URL is not set: `cargo xtask test e2e` sets it, or serve www/dist yourself');

/** Longest wait for anything, in milliseconds: two slow cores share the load. */
export const patience = Number(process.env.PATIENCE ?? 60_000);

export const desktop = { viewport: { width: 1280, height: 800 } };
export const phone = {
  viewport: { width: 360, height: 740 },
  deviceScaleFactor: 2,
  isMobile: true,
  hasTouch: true,
};

const browsers = new Map();
/** A browser without WebGPU, or with one that computes in software; each is started when it is first asked for. */
function browserWith(webgpu) {
  if (!browsers.has(webgpu)) browsers.set(webgpu, launch({ webgpu: webgpu ? 'software' : 'none' }));
  return browsers.get(webgpu);
}
after(async () => {
  for (const browser of browsers.values()) await (await browser).close();
});

/** Greedy and without penalties: the answers are known in advance. */
export const greedy = { temperature: 0, repetitionPenalty: 1 };

/**
 * Runs one case on a fresh page. Fails if a request went anywhere but the page's own server and `alsoAllowed`, or if
 * the page logged an error. `settings` are stored before the page opens, and `before` runs in it first. `webgpu` asks for
 * a browser that has it, `ownBrowser` one that no other case uses.
 */
export async function onPage(options, work) {
  const {
    settings = greedy,
    alsoAllowed = [],
    path = '',
    expectErrors = false,
    webgpu = false,
    ownBrowser = false,
    before,
    ...context
  } = options;
  const browser = ownBrowser
    ? await launch({ webgpu: webgpu ? 'software' : 'none' })
    : await browserWith(webgpu);
  const where = await browser.newContext({ ...desktop, reducedMotion: 'reduce', ...context });
  const allowed = [new URL(site).origin, ...alsoAllowed];
  const strays = [];
  const errors = [];
  where.on('request', (request) => {
    const url = new URL(request.url());
    if (/^(https?|wss?):$/.test(url.protocol) && !allowed.includes(url.origin)) strays.push(url.href);
  });
  await where.addInitScript((value) => {
    try {
      if (!localStorage.getItem('inkling.settings')) localStorage.setItem('inkling.settings', value);
    } catch {
      // A case without storage.
    }
  }, JSON.stringify(settings));
  if (before) await where.addInitScript(before);
  const page = await where.newPage();
  page.setDefaultTimeout(patience);
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error') errors.push(message.text());
  });
  try {
    await page.goto(new URL(path, site).href);
    await work(page, where);
    assert.deepEqual(strays, [], 'requests that left the page');
    if (!expectErrors) assert.deepEqual(errors, [], 'errors in the page');
  } catch (error) {
    await shot(page, `failed-${Date.now()}`).catch(() => {});
    throw error;
  } finally {
    await where.close();
    if (ownBrowser) await browser.close();
  }
}

/** What is seen of a page's work: words, and bars that grow. */
const signs = (page) =>
  page.evaluate(() => {
    const bars = [...document.querySelectorAll('progress')].map(({ value }) => value);
    return [document.body.innerText, ...bars].join();
  });

/**
 * Waits as `wait` does, and once more for as long as the page gets on meanwhile: on a busy machine a software adapter is
 * slower than any limit, and what hangs stands still.
 */
export async function patiently(page, wait) {
  for (let round = 1; ; round++) {
    const before = await signs(page);
    try {
      return await wait();
    } catch (error) {
      const stands = before === (await signs(page));
      if (error.name !== 'TimeoutError' || stands || round === 5) throw error;
    }
  }
}

/** Saves what the page looks like. */
export async function shot(page, name) {
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** Serious and critical findings of axe. */
export async function accessibilityFindings(page) {
  await page.evaluate(await axe());
  const result = await page.evaluate(() => globalThis.axe.run());
  return result.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' | ')}`);
}

let axeText;
async function axe() {
  const { readFile } = await import('node:fs/promises');
  axeText ??= await readFile(axeSource, 'utf8');
  return axeText;
}
