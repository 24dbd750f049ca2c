import { createHash } from 'node:crypto';
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createLogger, defineConfig, type Plugin } from 'vite';

const modelsFolder = new URL('../models/', import.meta.url);
const embedded = JSON.parse(readFileSync(new URL('default.json', modelsFolder), 'utf8')) as {
  file: string;
  name: string;
};

/** Isolation now, so that threads need no change of hosting later. */
const headers = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
};

const contentSecurityPolicy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "worker-src 'self'",
  'connect-src *', // Models come from wherever the user asks; nothing else is ever fetched.
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

/** Serves and copies the embedded model at the stable path `models/<file>`. */
function embeddedModel(): Plugin {
  const path = fileURLToPath(new URL(embedded.file, modelsFolder));
  return {
    name: 'inkling:embedded-model',
    configureServer(server) {
      server.middlewares.use(`/models/${embedded.file}`, (_request, response) => {
        response.writeHead(200, {
          ...headers,
          'Content-Type': 'application/octet-stream',
          'Content-Length': statSync(path).size,
        });
        createReadStream(path).pipe(response);
      });
    },
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: `models/${embedded.file}`, source: readFileSync(path) });
    },
  };
}

/** Licences ask to go wherever the work goes: of the engine, of what the page is made with, of its type and its model. */
function licences(): Plugin {
  const modules = ['preact', '@preact/signals', '@preact/signals-core', 'idb', 'marked'];
  return {
    name: 'inkling:licences',
    apply: 'build',
    generateBundle() {
      const texts = [
        ['The engine', 'node_modules/inkling-llm/dist/notices.txt'],
        ...modules.map((name) => [name, `node_modules/${name}/LICENSE`]),
        ['Newsreader, the typeface of answers', 'www/src/styles/newsreader-license.txt'],
        [embedded.name, 'models/MODEL_CARD.md'],
        ['Inkling', 'LICENSE-MIT'],
        ['Inkling', 'LICENSE-APACHE'],
      ].map(([title, path]) => `${title}\n\n${readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')}`);
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: texts.join(`\n${'='.repeat(80)}\n`) });
    },
  };
}

/** Puts the policy into the built page only: the development server needs inline styles. */
function policy(): Plugin {
  return {
    name: 'inkling:content-security-policy',
    apply: 'build',
    transformIndexHtml: () => [
      {
        tag: 'meta',
        attrs: { 'http-equiv': 'Content-Security-Policy', content: contentSecurityPolicy },
        injectTo: 'head-prepend',
      },
    ],
  };
}

/** Tells the service worker what to keep, and names its cache after that. */
function precache(): Plugin {
  const publicFiles = ['icon.svg', 'manifest.webmanifest', 'theme.js'];
  return {
    name: 'inkling:precache',
    apply: 'build',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        const hash = createHash('sha256');
        const files = Object.keys(bundle).filter((name) => name !== 'sw.js' && name !== 'licences.txt');
        for (const name of files) {
          const item = bundle[name];
          if (item) hash.update(name).update(item.type === 'chunk' ? item.code : item.source);
        }
        for (const name of publicFiles) hash.update(readFileSync(new URL(`public/${name}`, import.meta.url)));
        const worker = bundle['sw.js'];
        if (worker?.type !== 'chunk') throw new Error('the service worker is missing from the bundle');
        const paths = ['./', ...files.filter((name) => name !== 'index.html'), ...publicFiles];
        worker.code = worker.code
          .replace('__PRECACHE_FILES__', () => JSON.stringify(paths))
          .replace('__PRECACHE_VERSION__', () => JSON.stringify(hash.digest('hex').slice(0, 12)));
      },
    },
  };
}

/** Vite's own words, without two warnings about what is meant to be so. */
function logger() {
  const quiet = createLogger();
  // A build of the package may carry fewer engines than it could; public/theme.js must run before all modules.
  const meant = /doesn't exist at build time|can't be bundled without type="module"/;
  const { warn, warnOnce } = quiet;
  quiet.warn = (message, options) => void (meant.test(message) || warn(message, options));
  quiet.warnOnce = (message, options) => void (meant.test(message) || warnOnce(message, options));
  return quiet;
}

export default defineConfig(({ mode }) => ({
  base: './',
  customLogger: logger(),
  define: { __EMBEDDED_MODEL__: JSON.stringify({ file: embedded.file, name: embedded.name }) },
  plugins: [embeddedModel(), licences(), policy(), precache()],
  server: { headers, host: '127.0.0.1' },
  preview: { headers, host: '127.0.0.1' },
  worker: { format: 'es' },
  ...(mode === 'fake' && {
    resolve: { alias: { 'inkling-llm': fileURLToPath(new URL('dev/fake-engine.ts', import.meta.url)) } },
  }),
  build: {
    target: 'es2022',
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: {
        index: fileURLToPath(new URL('index.html', import.meta.url)),
        sw: fileURLToPath(new URL('src/sw.ts', import.meta.url)),
      },
      output: {
        entryFileNames: (chunk) => (chunk.name === 'sw' ? 'sw.js' : 'assets/[name]-[hash].js'),
      },
    },
  },
}));
