// WebKitGTK for a few cases: the engine of Safari, as far as Linux has it. It speaks WebDriver.
//
// WEBKIT  its browser (without it, or without WebKitWebDriver, these cases are skipped)
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { withDisplay } from '../../../xtask/browser/webkit.mjs';
import { patience, shots } from './browser.mjs';

const DRIVER = 'WebKitWebDriver';

/** Options of a case. */
export const options =
  process.env.WEBKIT && spawnSync(DRIVER, ['--help']).status === 0
    ? {}
    : { skip: 'needs WebKitGTK and its driver' };

/** Runs `work` on a window of so many pixels in a browser of its own. */
export function inWebKit({ width, height }, work) {
  return withDisplay(async (display) => {
    const port = await freePort();
    const env = { ...process.env, DISPLAY: display, GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1' };
    const driver = spawn(DRIVER, [`--port=${port}`], { stdio: 'ignore', env });
    const call = caller(`http://127.0.0.1:${port}`);
    let session;
    try {
      await until(() => call('GET', '/status'));
      const browser = { binary: process.env.WEBKIT, args: ['--automation'] };
      const capabilities = { alwaysMatch: { 'webkitgtk:browserOptions': browser } };
      session = `/session/${(await call('POST', '/session', { capabilities })).sessionId}`;
      await call('POST', `${session}/window/rect`, { width, height });
      await work(pageOf((method, path, body) => call(method, session + path, body)));
    } finally {
      if (session) await call('DELETE', session).catch(() => {});
      driver.kill();
    }
  });
}

/** What a case does with the page. */
function pageOf(call) {
  const find = async (selector) => {
    const found = await call('POST', '/element', { using: 'css selector', value: selector });
    return Object.values(found)[0];
  };
  const run = (script) => call('POST', '/execute/sync', { script: `return (${script})`, args: [] });
  return {
    goto: (url) => call('POST', '/url', { url }),
    back: () => call('POST', '/back', {}),
    reload: () => call('POST', '/refresh', {}),
    run,
    /** Waits until a script gives something. */
    wait: (script) =>
      until(async () => {
        const value = await run(script);
        if (!value) throw new Error(`still waiting for ${script}`);
        return value;
      }),
    click: async (selector) => call('POST', `/element/${await find(selector)}/click`, {}),
    type: async (selector, text) => call('POST', `/element/${await find(selector)}/value`, { text }),
    shot: async (name) => {
      mkdirSync(shots, { recursive: true });
      writeFileSync(join(shots, `${name}.png`), Buffer.from(await call('GET', '/screenshot'), 'base64'));
    },
  };
}

function caller(base) {
  return async (method, path, body) => {
    const response = await fetch(base + path, { method, ...(body && { body: JSON.stringify(body) }) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${value.message}`);
    return value;
  };
}

async function until(attempt) {
  const end = Date.now() + patience;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > end) throw error;
      await sleep(100);
    }
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
