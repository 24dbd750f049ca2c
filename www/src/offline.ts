import { effect } from '@preact/signals';
import { model } from './engine.ts';

/** Registers the service worker once the model is there, so that the two do not compete for the network. */
export function keepOffline(): void {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return;
  const stop = effect(() => {
    if (!model.value) return;
    queueMicrotask(() => stop());
    // It may be refused (private windows); the page then simply needs the network.
    navigator.serviceWorker.register('./sw.js').catch(() => {});
  });
}
