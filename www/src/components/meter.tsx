import { loading, model, restoring } from '../engine.ts';
import { run } from '../generate.ts';
import { current } from '../state.ts';
import { backendName, backendStory, megabytes } from '../words.ts';

function phaseText(): string {
  const state = loading.value;
  if (!state) return '';
  const { progress } = state;
  if (!progress || progress.total === 0) return 'Opening the model';
  if (progress.phase === 'download') {
    return `Loading the model, ${megabytes(progress.loaded)} of ${megabytes(progress.total)}`;
  }
  if (progress.phase === 'compile') return 'Preparing the GPU';
  if (progress.phase === 'check') return 'Checking the GPU';
  return 'Preparing the model';
}

/** Tokens in the context after the last answer, or so far in the one being written. */
function contextUsed(): number {
  const conversation = current.value;
  const active = run.value;
  if (active && active.conversationId === conversation?.id) {
    return (active.prefill.value?.total ?? 0) + active.tokens.value;
  }
  const facts = conversation?.messages.at(-1)?.facts;
  return facts && facts.contextLength === model.value?.info.contextLength ? facts.contextUsed : 0;
}

function speed(): number {
  const active = run.value;
  const conversation = current.value;
  if (active && active.conversationId === conversation?.id) return active.speed.value;
  return conversation?.messages.at(-1)?.facts?.speed ?? 0;
}

function Context({ used, length }: { used: number; length: number }) {
  const words = `${used.toLocaleString('en')} of ${length.toLocaleString('en')}`;
  return (
    <span class="context" title="How much of its context the model has filled, in tokens">
      <span
        class="gauge"
        role="meter"
        aria-label="Context used"
        aria-valuemin={0}
        aria-valuemax={length}
        aria-valuenow={used}
        aria-valuetext={`${words} tokens`}
      >
        <span style={{ width: `${(100 * used) / length}%` }} />
      </span>
      {words}
    </span>
  );
}

/** The quiet line under the composer: what computes, how fast, and how full the context is. */
export function Meter() {
  const open = model.value;
  if (!open) {
    return (
      <p class="meter" role="status">
        {phaseText()}
      </p>
    );
  }
  const { contextLength } = open.info;
  const used = Math.min(contextUsed(), contextLength);
  const rate = speed();
  return (
    <p class="meter">
      <span class="backend" title={backendStory(open.info)}>
        {restoring.value ? 'Restoring the model' : backendName(open.info)}
      </span>
      {rate > 0 && (
        <span class="speed">
          {rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString('en')} tokens/s
        </span>
      )}
      {used > 0 && <Context used={used} length={contextLength} />}
    </p>
  );
}
