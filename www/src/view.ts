// What is open on the page, apart from the conversation itself.
import { signal } from '@preact/signals';

export type Panel = 'settings' | 'models' | 'conversations';

/** The dialog that is open, if any. */
export const panel = signal<Panel | null>(null);

/** Whether the list of conversations stands beside the chat or opens as a sheet. */
export const wide = signal(true);

/** Follows the width of the window. */
export function watchWidth(): void {
  const query = matchMedia('(min-width: 60rem)');
  const apply = (): void => {
    wide.value = query.matches;
    if (query.matches && panel.value === 'conversations') panel.value = null;
  };
  apply();
  query.addEventListener('change', apply);
}

/** Keeps the composer above a phone's keyboard where the browser lays the page under it. */
export function watchKeyboard(): void {
  const viewport = window.visualViewport;
  if (!viewport) return;
  const apply = (): void => {
    const covered = window.innerHeight - viewport.height;
    const zoomed = viewport.scale > 1.01;
    const style = document.documentElement.style;
    if (covered > 120 && !zoomed) {
      style.setProperty('--app-height', `${Math.round(viewport.height)}px`);
      window.scrollTo(0, 0);
    } else style.removeProperty('--app-height');
  };
  viewport.addEventListener('resize', apply);
}

/** The box to write in; focused after a click on a prompt, a new chat and the like. */
export function focusComposer(): void {
  document.getElementById('composer-input')?.focus({ preventScroll: true });
}
