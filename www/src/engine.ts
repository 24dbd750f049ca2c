// The model: which one is open, and opening another. While a new one loads the old one stays usable, and it stays
// when the new one fails.
import { computed, signal } from '@preact/signals';
import { Engine, type LoadProgress, type ModelInfo, type ModelSource } from 'inkling-llm';
import { codeOf, describe } from './errors.ts';
import { notify } from './notices.ts';
import { settings } from './settings.ts';
import type { Trouble } from './types.ts';

export interface OpenModel {
  engine: Engine;
  info: ModelInfo;
  /** What to call it: its own name, or the file's. */
  name: string;
  embedded: boolean;
  source: ModelSource;
}

export interface Loading {
  label: string;
  /** Whether it is the model that comes with the page. */
  embedded: boolean;
  progress: LoadProgress | null;
  cancel(): void;
}

/** The model that answers, once there is one. */
export const model = signal<OpenModel | null>(null);
/** The model that is being opened, while there is one. */
export const loading = signal<Loading | null>(null);
/** Why the last model could not be opened. */
export const loadTrouble = signal<(Trouble & { label: string }) | null>(null);

/** How far the engine has come in replacing a GPU that was lost, while it does. */
export const restoring = signal<LoadProgress | null>(null);

/** True until the first model is there or has failed for good. */
export const starting = signal(true);

/** Whether a model will be there soon, if it is not there yet. */
export const expectingModel = computed(
  () => starting.value || model.value !== null || loading.value !== null,
);

/** Why a model that runs is no use here: it has nothing to say. */
function noChat({ kind, architecture }: ModelInfo): Trouble {
  const purpose =
    kind === 'rerank'
      ? 'It tells how well texts answer a question.'
      : 'It turns texts into vectors that can be compared.';
  return {
    code: 'invalid_request',
    title: 'This model does not write text.',
    advice: `${purpose} Open a model that chats.`,
    detail: `${architecture}, ${kind}`,
  };
}

let attempt = 0;

function nameOf(info: ModelInfo, label: string): string {
  const own = info.name.trim();
  return own && own !== info.architecture ? own : label.replace(/\.gguf$/i, '');
}

/** What computes has changed while the model is open: its GPU was lost. */
function learn(source: ModelSource, info: ModelInfo): void {
  const open = model.value;
  if (open?.source !== source) return;
  model.value = { ...open, info };
  if (!open.info.backend.startsWith('webgpu') || info.backend.startsWith('webgpu')) return;
  notify('The GPU was lost. The CPU goes on.', {
    label: 'Use the GPU',
    run: () => void reopen(),
  });
}

async function closeModel(old: OpenModel | null): Promise<void> {
  try {
    await old?.engine.dispose();
  } catch {
    // It is gone either way.
  }
}

/** Opens a model and puts it in the place of the one that is open. Resolves to whether that worked. */
export async function openModel(source: ModelSource, label: string, embedded = false): Promise<boolean> {
  loading.value?.cancel();
  const mine = ++attempt;
  const abort = new AbortController();
  const state = (progress: LoadProgress | null): Loading => ({
    label,
    progress,
    embedded,
    cancel: () => abort.abort(),
  });
  loading.value = state(null);
  // The first model's fallback must not hide why it is needed.
  if (!starting.value) loadTrouble.value = null;
  try {
    const engine = await Engine.load(source, {
      signal: abort.signal,
      contextLength: settings.value.contextLength || undefined,
      backend: settings.value.backend,
      onProgress: (progress) => {
        if (mine === attempt) loading.value = state(progress);
      },
      onInfo: (info) => learn(source, info),
      onRecovery: (progress) => {
        if (model.value?.source === source) restoring.value = progress;
      },
    });
    if (mine !== attempt) {
      await closeModel({ engine } as OpenModel);
      return false;
    }
    if (engine.info.kind !== 'text') {
      loading.value = null;
      loadTrouble.value = { ...noChat(engine.info), label };
      await closeModel({ engine } as OpenModel);
      return false;
    }
    const old = model.value;
    const name = embedded ? __EMBEDDED_MODEL__.name : nameOf(engine.info, label);
    model.value = { engine, info: engine.info, name, embedded, source };
    restoring.value = null;
    loading.value = null;
    await closeModel(old);
    return true;
  } catch (error) {
    if (mine !== attempt) return false;
    loading.value = null;
    if (codeOf(error) !== 'aborted') loadTrouble.value = { ...describe(error), label };
    return false;
  }
}

/** Opens the model that comes with the page. */
export function openEmbedded(): Promise<boolean> {
  const address = new URL(`models/${__EMBEDDED_MODEL__.file}`, document.baseURI);
  return openModel(address, __EMBEDDED_MODEL__.name, true);
}

/** Opens the current model again, for settings that are read at load. */
export function reopen(): Promise<boolean> {
  const open = model.value;
  return open ? openModel(open.source, open.name, open.embedded) : openEmbedded();
}

/** Opens picked or dropped files: one, or all the shards of a split model. */
export function openFiles(files: readonly File[]): Promise<boolean> {
  const sorted = [...files].sort((a, b) => a.name.localeCompare(b.name));
  const first = sorted[0];
  if (!first) return Promise.resolve(false);
  return openModel(sorted.length === 1 ? first : sorted, first.name);
}

/** The address if it is one that can be fetched; `base` makes sense of relative ones. */
export function parseAddress(text: string, base?: string): URL | null {
  try {
    const url = new URL(text.trim(), base);
    return url.protocol === 'http:' || url.protocol === 'https:' ? url : null;
  } catch {
    return null;
  }
}

/** Opens a model from an address. */
export function openAddress(url: URL): Promise<boolean> {
  const file = url.pathname.split('/').at(-1);
  return openModel(url, (file && safeDecode(file)) || url.host);
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
