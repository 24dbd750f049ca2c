import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { openFiles } from '../engine.ts';
import { notify } from '../notices.ts';
import { Mark } from './icon.tsx';

function carriesFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes('Files') ?? false;
}

/** Takes model files that are dropped anywhere on the page. */
export function DropZone() {
  const over = useSignal(false);
  useEffect(() => {
    const stop = new AbortController();
    const listen = (type: 'dragover' | 'dragleave' | 'drop', work: (event: DragEvent) => void): void =>
      window.addEventListener(type, work, { signal: stop.signal });
    listen('dragover', (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      over.value = true;
    });
    listen('dragleave', (event) => {
      if (!event.relatedTarget) over.value = false;
    });
    listen('drop', (event) => {
      over.value = false;
      if (!carriesFiles(event)) return;
      event.preventDefault();
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length > 0) void openFiles(files);
      else notify('That was not a file. Drop a file that ends in .gguf.');
    });
    return () => stop.abort();
  }, []);
  if (!over.value) return null;
  return (
    <div class="dropzone" aria-hidden="true">
      <Mark />
      <p>Drop a GGUF file to open it</p>
    </div>
  );
}
