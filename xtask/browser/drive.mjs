// Opens the page that works for xtask, passes on what it says, and ends with its outcome.
import { launch } from './chromium.mjs';

const [address, webgpu, jsFlags] = process.argv.slice(2);
const browser = await launch({ webgpu, jsFlags });
try {
  const page = await browser.newPage();
  page.on('console', (message) => console.log(`  ${message.text()}`));
  page.on('pageerror', (error) => console.error(error));
  page.on('crash', () => {
    console.error('the page crashed');
    process.exit(1);
  });
  await page.goto(address);
  const outcome = await page.waitForFunction(() => globalThis.outcome, undefined, {
    timeout: 0,
    polling: 200,
  });
  const text = await outcome.jsonValue();
  if (text !== 'done') {
    console.error(text);
    process.exitCode = 1;
  }
} finally {
  await browser.close();
}
