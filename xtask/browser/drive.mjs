// Opens the page that works for xtask, passes on what it says, and ends with its outcome.
import * as chromium from './chromium.mjs';
import * as firefox from './firefox.mjs';
import * as webkit from './webkit.mjs';

const [name, address, webgpu, jsFlags] = process.argv.slice(2);
const browser = { chromium, firefox, webkit }[name];
const outcome = await browser.visit(address, { webgpu, jsFlags }, (line) => {
  const end = /^outcome: (.*)$/s.exec(line);
  if (!end) console.log(`  ${line}`);
  return end?.[1];
});
if (outcome !== 'done') {
  console.error(outcome);
  process.exitCode = 1;
}
