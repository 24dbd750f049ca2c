// Starts the system's Chromium headless, without anything that reaches for the network on its own.
import { chromium } from 'playwright-core';

const QUIET = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A browser from `CHROMIUM`, which xtask sets, or the usual place. */
export function launch(options = {}) {
  // Chromium's sandbox refuses to run as root, which is what containers are.
  const args = process.getuid?.() === 0 ? [...QUIET, '--no-sandbox'] : QUIET;
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, args, ...options });
}
