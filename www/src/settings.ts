// What the reader can adjust, kept in localStorage where that is allowed.
import { effect, signal } from '@preact/signals';

/** What computes: the GPU where it can, the GPU or nothing, or the CPU. */
export type Computer = 'auto' | 'gpu' | 'cpu';

export interface Settings {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  frequencyPenalty: number;
  presencePenalty: number;
  /** 0: until the model is done or the context is full. */
  maxTokens: number;
  /** Empty: a new one each time. */
  seed: string;
  systemPrompt: string;
  /** For the next model that is opened; 0: the model's own. */
  contextLength: number;
  /** For the next model that is opened. */
  backend: Computer;
}

export type Theme = 'system' | 'light' | 'dark';

export const defaults: Readonly<Settings> = {
  temperature: 0.7,
  topK: 40,
  topP: 0.95,
  minP: 0.05,
  repetitionPenalty: 1,
  frequencyPenalty: 0,
  presencePenalty: 0,
  maxTokens: 0,
  seed: '',
  systemPrompt: '',
  contextLength: 0,
  backend: 'auto',
};

const computers: readonly Computer[] = ['auto', 'gpu', 'cpu'];

const settingsKey = 'inkling.settings';
const themeKey = 'inkling.theme'; // public/theme.js reads it too

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // The setting holds until the page closes.
  }
}

/** Stored settings as far as they still make sense, over the defaults. */
export function parseSettings(json: string | null): Settings {
  const result: Settings = { ...defaults };
  try {
    const stored: unknown = JSON.parse(json ?? '{}');
    if (typeof stored !== 'object' || stored === null) return result;
    for (const [key, value] of Object.entries(stored)) {
      if (!(key in defaults) || typeof value !== typeof defaults[key as keyof Settings]) continue;
      if (typeof value === 'number' && !Number.isFinite(value)) continue;
      if (key === 'backend' && !computers.includes(value as Computer)) continue;
      Object.assign(result, { [key]: value });
    }
  } catch {
    // Unreadable: the defaults stand.
  }
  return result;
}

export const settings = signal<Settings>(parseSettings(read(settingsKey)));

const storedTheme = read(themeKey);
export const theme = signal<Theme>(
  storedTheme === 'light' || storedTheme === 'dark' ? storedTheme : 'system',
);

export function change(part: Partial<Settings>): void {
  settings.value = { ...settings.value, ...part };
}

/** Back to the defaults; the system prompt is the reader's own text and stays. */
export function resetSettings(): void {
  settings.value = { ...defaults, systemPrompt: settings.value.systemPrompt };
}

/** The seed as a number; undefined for an empty or unreadable one. */
export function seedOf(text: string): number | undefined {
  const trimmed = text.trim();
  return /^\d{1,15}$/.test(trimmed) ? Number(trimmed) : undefined;
}

/** Keeps settings and theme in storage and on the page from now on. */
export function keepSettings(): void {
  effect(() => write(settingsKey, JSON.stringify(settings.value)));
  effect(() => {
    const value = theme.value;
    write(themeKey, value === 'system' ? null : value);
    if (value === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = value;
  });
}
