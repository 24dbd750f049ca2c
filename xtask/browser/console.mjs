// A browser that needs no driver: the page speaks through its console, which the browser prints.
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A page whose process has died says nothing either. */
const PATIENCE_MS = 300_000;

/** Calls `use` with an empty folder for a profile, and takes it away afterwards. */
export async function withProfile(name, use) {
  // Not among the system's temporary files: a browser from a snap has others.
  const folder = fileURLToPath(new URL('../../target/xtask/', import.meta.url));
  await mkdir(folder, { recursive: true });
  const profile = await mkdtemp(join(folder, `${name}-`));
  try {
    return await use(profile);
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Runs a browser until `say`, which gets each message of its console, returns something: the result. */
export async function listen(program, args, environment, messageOf, say) {
  const env = { ...process.env, ...environment };
  const browser = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env });
  const closed = new Promise((resolve) => browser.once('close', resolve));
  try {
    return await new Promise((resolve, reject) => {
      browser.once('error', reject);
      closed.then(() => reject(new Error('the browser has ended')));
      const silence = setTimeout(
        () => reject(new Error('the page says nothing any more')),
        PATIENCE_MS,
      ).unref();
      const hear = (line) => {
        const message = messageOf(line);
        if (message === undefined) return;
        silence.refresh();
        const outcome = say(message);
        if (outcome !== undefined) resolve(outcome);
      };
      for (const input of [browser.stdout, browser.stderr]) createInterface({ input }).on('line', hear);
    });
  } finally {
    browser.kill();
    await closed;
  }
}
