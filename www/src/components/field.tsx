import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { change, settings, type Settings } from '../settings.ts';

type NumberKey = { [K in keyof Settings]: Settings[K] extends number ? K : never }[keyof Settings];

interface SliderProps {
  name: NumberKey;
  label: string;
  /** The name that others use for it. */
  term: string;
  hint: string;
  min: number;
  max: number;
  step: number;
  /** What a value is called where a number says little. */
  says?: (value: number) => string;
}

/** A number that is set by dragging. */
export function Slider({ name, label, term, hint, min, max, step, says }: SliderProps) {
  const id = useId();
  const value = settings.value[name];
  const text = says?.(value) ?? String(value);
  return (
    <div class="field">
      <div class="field-head">
        <label for={id}>{label}</label>
        <span class="term">{term}</span>
        <output for={id}>{text}</output>
      </div>
      <input
        id={id}
        type="range"
        min={min}
        max={max}
        step={step}
        value={value}
        aria-describedby={`${id}-hint`}
        aria-valuetext={text}
        onInput={(event) => change({ [name]: event.currentTarget.valueAsNumber })}
      />
      <p class="hint" id={`${id}-hint`}>
        {hint}
      </p>
    </div>
  );
}

interface BoxProps {
  label: string;
  term?: string;
  hint: string;
  children: (attributes: { id: string; 'aria-describedby': string }) => ComponentChildren;
}

/** A labelled box of any kind. */
export function Box({ label, term, hint, children }: BoxProps) {
  const id = useId();
  return (
    <div class="field">
      <div class="field-head">
        <label for={id}>{label}</label>
        {term && <span class="term">{term}</span>}
      </div>
      {children({ id, 'aria-describedby': `${id}-hint` })}
      <p class="hint" id={`${id}-hint`}>
        {hint}
      </p>
    </div>
  );
}

interface WholeProps {
  name: NumberKey;
  label: string;
  term: string;
  hint: string;
  placeholder: string;
  max: number;
}

/** A whole number that may be left empty (0). */
export function Whole({ name, label, term, hint, placeholder, max }: WholeProps) {
  return (
    <Box label={label} term={term} hint={hint}>
      {(attributes) => (
        <input
          {...attributes}
          type="text"
          inputMode="numeric"
          pattern="[0-9]*"
          placeholder={placeholder}
          value={settings.value[name] || ''}
          onChange={(event) => {
            const value = Number.parseInt(event.currentTarget.value, 10);
            change({ [name]: Number.isFinite(value) ? Math.min(Math.max(value, 0), max) : 0 });
            event.currentTarget.value = String(settings.value[name] || '');
          }}
        />
      )}
    </Box>
  );
}
