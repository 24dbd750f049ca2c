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

/** Chromium's own software adapter, which it hides from pages otherwise. */
const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];

/** A browser from `CHROMIUM`, which xtask sets, or the usual place. */
export function launch({ webgpu = false } = {}) {
  // Chromium's sandbox refuses to run as root, which is what containers are.
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const args = [...QUIET, ...root, ...(webgpu ? WEBGPU : [])];
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, args });
}
