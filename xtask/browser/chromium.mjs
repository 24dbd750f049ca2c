// Starts the system's Chromium headless, without anything that reaches for the network on its own.
import { chromium } from 'playwright-core';

const QUIET = [
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Which WebGPU adapter a page sees. */
const ADAPTERS = {
  none: ['--disable-gpu'],
  /** Chromium's own, which it hides from pages otherwise. */
  software: ['--disable-gpu', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
  /** The machine's. Headless Chromium on Linux falls back to software without a word unless ANGLE takes Vulkan too. */
  hardware: [
    '--enable-unsafe-webgpu',
    '--ignore-gpu-blocklist',
    ...(process.platform === 'linux'
      ? ['--enable-features=Vulkan', '--use-angle=vulkan', '--disable-vulkan-surface']
      : []),
  ],
};

/**
 * A browser from `CHROMIUM`, which xtask sets, or the usual place. With `profile`, a folder, it is no private window: it
 * keeps on disk what pages hold, and what comes back is its context.
 */
export function launch({ webgpu = 'none', jsFlags, profile } = {}) {
  // Chromium's sandbox refuses to run as root, which is what containers are.
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const flags = jsFlags ? [`--js-flags=${jsFlags}`] : [];
  const args = [...QUIET, ...root, ...ADAPTERS[webgpu], ...flags];
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  if (profile) return chromium.launchPersistentContext(profile, { executablePath, args });
  return chromium.launch({ executablePath, args });
}

/** Opens `address` and hands `say` each line that its console gets, until that returns something: the result. */
export async function visit(address, options, say) {
  const browser = await launch(options);
  try {
    const page = await browser.newPage();
    return await new Promise((resolve, reject) => {
      page.on('console', (message) => {
        const outcome = say(message.text());
        if (outcome !== undefined) resolve(outcome);
      });
      page.on('pageerror', reject);
      page.on('crash', () => reject(new Error('the page crashed')));
      page.goto(address).catch(reject);
    });
  } finally {
    await browser.close();
  }
}
