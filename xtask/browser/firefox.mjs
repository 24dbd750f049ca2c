// Starts the system's Firefox headless on one page. It needs no driver: the page speaks through its console, which Firefox
// prints.
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PREFERENCES = {
  'devtools.console.stdout.content': true,
  'gfx.webgpu.ignore-blocklist': true,
  // Nothing that reaches for the network on its own.
  'app.normandy.enabled': false,
  'app.update.disabledForTesting': true,
  'browser.safebrowsing.downloads.remote.enabled': false,
  'datareporting.healthreport.uploadEnabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.update.enabled': false,
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'services.settings.server': 'data:,',
};

/** A page whose process has died says nothing either. */
const PATIENCE_MS = 300_000;

/** Opens `address` and hands `say` each line that its console gets, until that returns something: the result. */
export async function visit(address, { webgpu }, say) {
  // Not among the system's temporary files: a Firefox from a snap has others.
  const folder = fileURLToPath(new URL('../../target/xtask/', import.meta.url));
  await mkdir(folder, { recursive: true });
  const profile = await mkdtemp(join(folder, 'firefox-'));
  // Off by default on Linux; where it is on, it takes whatever Vulkan driver there is.
  const preferences = { ...PREFERENCES, 'dom.webgpu.enabled': webgpu !== 'none' };
  const lines = Object.entries(preferences).map(
    ([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`,
  );
  await writeFile(join(profile, 'user.js'), lines.join(''));
  const args = ['--headless', '--no-remote', '--profile', profile, address];
  const browser = spawn(process.env.FIREFOX ?? 'firefox', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const closed = new Promise((resolve) => browser.once('close', resolve));
  try {
    return await new Promise((resolve, reject) => {
      browser.once('error', reject);
      closed.then(() => reject(new Error('Firefox has ended')));
      const silence = setTimeout(
        () => reject(new Error('the page says nothing any more')),
        PATIENCE_MS,
      ).unref();
      createInterface({ input: browser.stdout }).on('line', (line) => {
        const said = /^console\.\w+: (.*)$/.exec(line);
        if (!said) return;
        silence.refresh();
        const outcome = say(plain(said[1]));
        if (outcome !== undefined) resolve(outcome);
      });
    });
  } finally {
    browser.kill();
    await closed;
    await rm(profile, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Strings are printed as JSON. */
function plain(value) {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
