// Short notes at the foot of the page that go by themselves.
import { signal } from '@preact/signals';

export interface Notice {
  text: string;
  /** Something that can be done about it, `Undo` for example. */
  action?: { label: string; run(): void };
}

export const notice = signal<Notice | null>(null);

let timer: ReturnType<typeof setTimeout> | undefined;

/** Shows a note in place of the one before. */
export function notify(text: string, action?: Notice['action']): void {
  clearTimeout(timer);
  notice.value = { text, ...(action && { action }) };
  timer = setTimeout(() => (notice.value = null), action ? 10_000 : 7000);
}

export function dismissNotice(): void {
  clearTimeout(timer);
  notice.value = null;
}
