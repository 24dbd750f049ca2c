import type { WasmGeneration } from './inkling.js';
import type { GenerationEvent } from './protocol.js';

/** Longest time in ms that the loop keeps the worker from reading its messages, steps longer than that aside. */
const SLICE_MS = 8;

/**
 * Steps a generation to its end and frees it. Events are emitted in batches, one per time slice; between slices the
 * worker reads its messages, so that a cancel arrives soon. When `signal` fires, the generation is told to cancel
 * and still ends with its own `done`.
 */
export async function runGeneration(
  generation: WasmGeneration,
  enter: (step: () => Promise<string>) => Promise<string>,
  emit: (events: GenerationEvent[]) => void,
  signal: AbortSignal,
): Promise<void> {
  const batch: GenerationEvent[] = [];
  let sliceStart = performance.now();
  let cancelled = false;
  let firstToken = true;
  try {
    for (;;) {
      if (signal.aborted && !cancelled) {
        cancelled = true;
        generation.cancel();
      }
      const event = JSON.parse(await enter(() => generation.step())) as GenerationEvent;
      batch.push(event);
      const done = event.type === 'done';
      const urgent = firstToken && event.type === 'token';
      if (urgent) firstToken = false;
      if (done || urgent || performance.now() - sliceStart >= SLICE_MS) {
        emit(batch.splice(0));
        if (done) return;
        await macrotask();
        sliceStart = performance.now();
      }
    }
  } finally {
    if (batch.length > 0) emit(batch);
    generation.free();
  }
}

/** A turn of the event loop, without the 4 ms that browsers add to nested `setTimeout`s. */
export function macrotask(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
