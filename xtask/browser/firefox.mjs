// Starts the system's Firefox headless on one page.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { listen, withProfile } from './console.mjs';

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

/** Opens `address` and hands `say` each line that its console gets, until that returns something: the result. */
export function visit(address, { webgpu }, say) {
  return withProfile('firefox', async (profile) => {
    // Off by default on Linux; where it is on, it takes whatever Vulkan driver there is.
    const preferences = { ...PREFERENCES, 'dom.webgpu.enabled': webgpu !== 'none' };
    const lines = Object.entries(preferences).map(
      ([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`,
    );
    await writeFile(join(profile, 'user.js'), lines.join(''));
    const args = ['--headless', '--no-remote', '--profile', profile, address];
    return listen(process.env.FIREFOX ?? 'firefox', args, {}, messageOf, say);
  });
}

/** Strings are printed as JSON. */
function messageOf(line) {
  const said = /^console\.\w+: (.*)$/.exec(line);
  if (!said) return undefined;
  try {
    return JSON.parse(said[1]);
  } catch {
    return said[1];
  }
}
