import { useSignal } from '@preact/signals';
import { notify } from '../notices.ts';
import { Icon } from './icon.tsx';

/** Copies what `text` gives when it is pressed. */
export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const done = useSignal(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text());
      done.value = true;
      setTimeout(() => (done.value = false), 1600);
    } catch {
      notify('The browser did not allow copying. Select the text and copy it by hand.');
    }
  };
  return (
    <button type="button" class="quiet" onClick={() => void copy()} aria-label={label} title={label}>
      <Icon name={done.value ? 'check' : 'copy'} />
      <span class="visually-hidden" role="status">
        {done.value ? 'Copied' : ''}
      </span>
    </button>
  );
}
