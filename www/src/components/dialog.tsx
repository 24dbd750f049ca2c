import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Icon } from './icon.tsx';

interface Props {
  title: string;
  /** Where it stands: a card in the middle, or a sheet at a side. */
  kind: 'card' | 'right' | 'left';
  onClose: () => void;
  children: ComponentChildren;
}

/** A modal dialog: the browser keeps the focus inside, gives it back afterwards, and closes it on Escape. */
export function Dialog({ title, kind, onClose, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close(); // Everything else is inert until then and would refuse the focus.
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const id = `dialog-${kind}-title`;
  return (
    <dialog
      ref={ref}
      class={`dialog ${kind}`}
      aria-labelledby={id}
      onClose={onClose}
      onPointerDown={(event) => {
        if (event.target === ref.current) onClose(); // The backdrop counts as the dialog itself.
      }}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={id} tabIndex={-1} autofocus>
            {title}
          </h2>
          <button type="button" class="quiet" onClick={onClose} aria-label={`Close ${title.toLowerCase()}`}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
