import { loading, loadTrouble, model, restoring, type Loading } from '../engine.ts';
import { run } from '../generate.ts';
import type { Trouble } from '../types.ts';
import { panel } from '../view.ts';
import { megabytes } from '../words.ts';
import { Icon } from './icon.tsx';

const phases = {
  download: 'Downloading',
  header: 'Reading the file',
  tokenizer: 'Reading the vocabulary',
  weights: 'Loading the weights',
  compile: 'Preparing the GPU',
  check: 'Checking the GPU',
} as const;

interface LoadingProps {
  state: Pick<Loading, 'label' | 'progress' | 'cancel'>;
  cancelLabel?: string;
}

/** How far a model has come, and the way to give it up. */
export function LoadingState({ state, cancelLabel = 'Cancel' }: LoadingProps) {
  const { label, progress } = state;
  const known = progress !== null && progress.total > 0;
  const phase = progress ? phases[progress.phase] : 'Opening';
  const counts = progress?.phase === 'compile' || progress?.phase === 'check';
  const amount = counts
    ? ''
    : known
      ? `${megabytes(progress.loaded)} of ${megabytes(progress.total)}`
      : progress?.loaded
        ? megabytes(progress.loaded)
        : '';
  return (
    <div class="loading">
      <p>
        <strong>{label}</strong>
        <span class="loading-amount">
          {phase}
          {amount && `, ${amount}`}
        </span>
      </p>
      <progress
        aria-label={`${phase} ${label}`}
        {...(known && { max: progress.total, value: progress.loaded })}
      />
      <button type="button" class="plain" onClick={() => state.cancel()}>
        {cancelLabel}
      </button>
    </div>
  );
}

/** Why a model could not be opened, and what can be done. */
export function TroubleNote({ trouble }: { trouble: Trouble & { label: string } }) {
  return (
    <div class="trouble" role="alert" data-code={trouble.code}>
      <p>
        <strong>{trouble.title}</strong> {trouble.advice}
      </p>
      <details>
        <summary>Details</summary>
        <p class="detail">
          {trouble.label}: {trouble.detail ?? trouble.title} ({trouble.code})
        </p>
      </details>
    </div>
  );
}

/** Says that the GPU was lost, and how far its replacement (at the second loss the CPU) has come. */
function RestoringBar() {
  const cancel = (): void => run.value?.stop();
  return (
    <div class="bar">
      <LoadingState
        state={{ label: 'The GPU was lost. The model is being restored.', progress: restoring.value, cancel }}
        cancelLabel="Stop"
      />
    </div>
  );
}

/** The same above the composer, for models that are opened without the dialog. */
export function OpeningBar() {
  if (panel.value === 'models') return null;
  const state = loading.value;
  // The embedded model says in the meter how far it is; it takes a moment only.
  if (state && !(state.embedded && !model.value)) {
    return (
      <div class="bar">
        <LoadingState state={state} />
      </div>
    );
  }
  if (restoring.value && !state) return <RestoringBar />;
  const trouble = loadTrouble.value;
  if (!trouble || state) return null;
  return (
    <div class="bar">
      <TroubleNote trouble={trouble} />
      <div class="row">
        {model.value && <p class="hint">{model.value.name} is still open and goes on answering.</p>}
        <button type="button" class="plain" onClick={() => (panel.value = 'models')}>
          Open another
        </button>
        <button type="button" class="quiet" onClick={() => (loadTrouble.value = null)} aria-label="Dismiss">
          <Icon name="close" />
        </button>
      </div>
    </div>
  );
}
