import { model, loading, reopen } from '../engine.ts';
import { change, resetSettings, seedOf, settings, theme, type Computer, type Theme } from '../settings.ts';
import { panel } from '../view.ts';
import { Dialog } from './dialog.tsx';
import { Box, Slider, Whole } from './field.tsx';

const themes: readonly (readonly [Theme, string])[] = [
  ['system', 'System'],
  ['light', 'Light'],
  ['dark', 'Dark'],
];

function Appearance() {
  return (
    <fieldset class="choice">
      <legend>Colours</legend>
      {themes.map(([value, label]) => (
        <label key={value}>
          <input
            type="radio"
            name="theme"
            value={value}
            checked={theme.value === value}
            onChange={() => (theme.value = value)}
          />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Instructions() {
  return (
    <Box
      label="Standing instructions"
      term="system prompt"
      hint="Put before every conversation. Very small models tend to ignore it."
    >
      {(attributes) => (
        <textarea
          {...attributes}
          dir="auto"
          rows={3}
          value={settings.value.systemPrompt}
          placeholder="None"
          onInput={(event) => change({ systemPrompt: event.currentTarget.value })}
        />
      )}
    </Box>
  );
}

function Seed() {
  const text = settings.value.seed;
  const wrong = text.trim() !== '' && seedOf(text) === undefined;
  return (
    <Box
      label="Starting point of chance"
      term="seed"
      hint={
        wrong
          ? 'Use digits only; as it is, it is ignored.'
          : 'With the same number, the same question gets the same answer.'
      }
    >
      {(attributes) => (
        <input
          {...attributes}
          type="text"
          inputMode="numeric"
          placeholder="New each time"
          aria-invalid={wrong}
          value={text}
          onInput={(event) => change({ seed: event.currentTarget.value })}
        />
      )}
    </Box>
  );
}

function ContextLength() {
  const open = model.value;
  const wanted = settings.value.contextLength || open?.info.trainedContextLength;
  const differs = open && wanted && wanted !== open.info.contextLength;
  return (
    <>
      <Whole
        name="contextLength"
        label="Length of memory"
        term="context"
        max={1_048_576}
        placeholder="The model’s own, up to 4096"
        hint="How many tokens of a conversation the model sees at once. A shorter one needs less memory. Used when a model is opened."
      />
      {differs && settings.value.contextLength > 0 && (
        <button type="button" class="plain" disabled={loading.value !== null} onClick={() => void reopen()}>
          {loading.value ? 'Opening…' : 'Open the model again with it'}
        </button>
      )}
    </>
  );
}

const computers: readonly (readonly [Computer, string])[] = [
  ['auto', 'Automatic'],
  ['gpu', 'GPU'],
  ['cpu', 'CPU'],
];

/** What computes; the model is opened again at once. */
function Computes() {
  return (
    <div class="field">
      <fieldset class="choice" aria-describedby="computes-hint">
        <legend>Computes on</legend>
        {computers.map(([value, label]) => (
          <label key={value}>
            <input
              type="radio"
              name="backend"
              value={value}
              checked={settings.value.backend === value}
              onChange={() => {
                change({ backend: value });
                void reopen();
              }}
            />
            <span>{label}</span>
          </label>
        ))}
      </fieldset>
      <p class="hint" id="computes-hint">
        Automatic takes the GPU where it runs the model rightly, and the CPU elsewhere. The model is opened
        again when you change it.
      </p>
    </div>
  );
}

/** All settings, in plain words. */
export function SettingsPanel() {
  return (
    <Dialog title="Settings" kind="right" onClose={() => (panel.value = null)}>
      <div class="fields">
        <Appearance />
        <Instructions />
        <h3>How it answers</h3>
        <Slider
          name="temperature"
          label="Liveliness"
          term="temperature"
          hint="Low keeps to the likeliest words, high takes surprising ones."
          min={0}
          max={2}
          step={0.05}
          says={(value) => (value === 0 ? '0, always the likeliest' : value.toFixed(2))}
        />
        <Whole
          name="maxTokens"
          label="Longest answer"
          term="max tokens"
          max={1_048_576}
          placeholder="Until it is done"
          hint="In tokens; a token is about three quarters of a word."
        />
        <Seed />
        <h3>Which words it may choose</h3>
        <Slider
          name="topK"
          label="Number of candidates"
          term="top-k"
          hint="Only this many of the likeliest next words are considered."
          min={0}
          max={200}
          step={1}
          says={(value) => (value === 0 ? 'all' : String(value))}
        />
        <Slider
          name="topP"
          label="Share of likelihood"
          term="top-p"
          hint="Only the likeliest words that together make up this share."
          min={0.05}
          max={1}
          step={0.01}
          says={(value) => (value >= 1 ? 'all' : `${Math.round(value * 100)} %`)}
        />
        <Slider
          name="minP"
          label="Least likelihood"
          term="min-p"
          hint="Words far less likely than the best one are left out."
          min={0}
          max={0.5}
          step={0.01}
          says={(value) => (value === 0 ? 'off' : `${Math.round(value * 100)} % of the best`)}
        />
        <h3>Repetition</h3>
        <Slider
          name="repetitionPenalty"
          label="Avoid what was just said"
          term="repetition penalty"
          hint="Makes words that came lately less likely."
          min={1}
          max={2}
          step={0.01}
          says={(value) => (value <= 1 ? 'off' : value.toFixed(2))}
        />
        <Slider
          name="frequencyPenalty"
          label="Avoid frequent words"
          term="frequency penalty"
          hint="The more often a word came, the less likely it gets."
          min={0}
          max={2}
          step={0.05}
          says={(value) => (value === 0 ? 'off' : value.toFixed(2))}
        />
        <Slider
          name="presencePenalty"
          label="Look for new words"
          term="presence penalty"
          hint="Any word that came at all gets less likely."
          min={0}
          max={2}
          step={0.05}
          says={(value) => (value === 0 ? 'off' : value.toFixed(2))}
        />
        <h3>Machine</h3>
        <Computes />
        <ContextLength />
        <hr />
        <button type="button" class="plain" onClick={resetSettings}>
          Reset all but the instructions
        </button>
        <p class="hint licences">
          <a href="licences.txt" target="_blank">
            Licences<span class="visually-hidden"> (opens in a new tab)</span>
          </a>{' '}
          of what this page is made of
        </p>
      </div>
    </Dialog>
  );
}
