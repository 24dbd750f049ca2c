// Starts WebKitGTK's own small browser on one page: the engine of Safari, as far as Linux has it.
import { spawn } from 'node:child_process';
import { listen, withProfile } from './console.mjs';

/** Opens `address` and hands `say` each line that its console gets, until that returns something: the result. */
export function visit(address, _options, say) {
  return withProfile('webkit', (profile) =>
    withDisplay((display) => {
      // To its standard error, and in no private window.
      const args = ['--enable-write-console-messages-to-stdout=true', address];
      const environment = {
        DISPLAY: display,
        GDK_BACKEND: 'x11',
        LIBGL_ALWAYS_SOFTWARE: '1',
        XDG_CACHE_HOME: profile,
        XDG_CONFIG_HOME: profile,
        XDG_DATA_HOME: profile,
      };
      return listen(process.env.WEBKIT, args, environment, messageOf, say);
    }),
  );
}

/** It has no headless mode; calls `use` with the name of a display that nobody sees. */
export async function withDisplay(use) {
  const server = spawn('Xvfb', ['-displayfd', '3', '-screen', '0', '1280x900x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  });
  const closed = new Promise((resolve) => server.once('close', resolve));
  try {
    const number = await new Promise((resolve, reject) => {
      server.once('error', reject);
      closed.then(() => reject(new Error('Xvfb has ended')));
      server.stdio[3].once('data', (data) => resolve(data.toString().trim()));
    });
    return await use(`:${number}`);
  } finally {
    server.kill();
    await closed;
  }
}

/** Of a message with several lines it is the first. */
function messageOf(line) {
  return /CONSOLE [A-Z]+ (.*)$/.exec(line)?.[1];
}
