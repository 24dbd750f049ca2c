// A server of models that go wrong in every way, on another port as a stranger's would be.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after } from 'node:test';

const model = readFileSync(new URL('../../../models/inkling-9m-chat-Q8_0.gguf', import.meta.url));

const replies = {
  '/good.gguf': (response) => {
    response.writeHead(200, { 'Content-Length': model.length });
    response.end(model);
  },
  // A login page where a model should be, served as success.
  '/page.gguf': (response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' });
    response.end('<!doctype html><title>Please sign in</title>'.padEnd(4096, ' '));
  },
  // The connection breaks in the middle.
  '/cut.gguf': (response) => {
    response.writeHead(200, { 'Content-Length': model.length });
    response.write(model.subarray(0, model.length / 2), () => response.destroy());
  },
  // The server believes that half the file is the file.
  '/half.gguf': (response) => {
    const half = model.subarray(0, model.length / 2);
    response.writeHead(200, { 'Content-Length': half.length });
    response.end(half);
  },
  '/private.gguf': (response) => {
    response.writeHead(403);
    response.end();
  },
  // Slow enough to be cancelled.
  '/slow.gguf': (response) => {
    response.writeHead(200, { 'Content-Length': model.length });
    let sent = 0;
    const timer = setInterval(() => {
      if (response.destroyed || sent >= model.length) return clearInterval(timer);
      response.write(model.subarray(sent, (sent += 200_000)));
    }, 100);
    response.on('close', () => clearInterval(timer));
  },
};

/** Starts it; resolves to its origin. It ends with the test file. */
export async function startModelServer() {
  const server = createServer((request, response) => {
    response.setHeader('Access-Control-Allow-Origin', '*');
    response.setHeader('Access-Control-Allow-Headers', '*');
    response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
    const reply = replies[request.url];
    if (reply && request.method === 'GET') reply(response);
    else response.writeHead(request.method === 'OPTIONS' ? 204 : 404).end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}
