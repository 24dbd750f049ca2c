/// <reference types="vite/client" />

/** From `models/default.json`, filled in by the Vite configuration. */
declare const __EMBEDDED_MODEL__: { file: string; name: string };
