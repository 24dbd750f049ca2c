import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import {
  loading,
  loadTrouble,
  model,
  openAddress,
  openEmbedded,
  openFiles,
  parseAddress,
  type OpenModel,
} from '../engine.ts';
import { panel } from '../view.ts';
import { backendName, backendStory, megabytes, people } from '../words.ts';
import { Dialog } from './dialog.tsx';
import { Icon } from './icon.tsx';
import { LoadingState, TroubleNote } from './opening.tsx';

/** Closes the dialog when a model was opened: the chat is what comes next. */
async function thenClose(opened: Promise<boolean>): Promise<void> {
  if ((await opened) && panel.value === 'models') panel.value = null;
}

function Facts({ open }: { open: OpenModel }) {
  const { info } = open;
  const story = backendStory(info);
  const context =
    info.contextLength === info.trainedContextLength
      ? `${info.contextLength.toLocaleString('en')} tokens`
      : `${info.contextLength.toLocaleString('en')} of ${info.trainedContextLength.toLocaleString('en')} tokens`;
  const rows: [string, string][] = [
    ['Parameters', people(info.parameters)],
    ['Quantization', info.quantization],
    ['Size', megabytes(info.fileSize)],
    ['In memory', megabytes(info.memoryBytes)],
    ['Context', context],
    ['Family', info.architecture],
    ['Runs on', backendName(info)],
    ['Licence', info.license ?? 'not stated in the file'],
  ];
  return (
    <section>
      <h3 class="model-name">{open.name}</h3>
      {info.description && <p class="hint">{info.description}</p>}
      <dl class="facts-table">
        {rows.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {story && <p class="hint">{story}</p>}
      {!info.hasChatTemplate && (
        <p class="hint">This file has no chat template, so a plain format is used. Answers may run on.</p>
      )}
    </section>
  );
}

function FromDisk() {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <>
      <input
        ref={picker}
        id="model-file"
        type="file"
        accept=".gguf"
        multiple
        hidden
        onChange={(event) => {
          const files = [...(event.currentTarget.files ?? [])];
          event.currentTarget.value = '';
          if (files.length > 0) void thenClose(openFiles(files));
        }}
      />
      <button type="button" class="solid" onClick={() => picker.current?.click()}>
        <Icon name="file" /> Choose a file…
      </button>
    </>
  );
}

function FromAddress() {
  const text = useSignal('');
  const wrong = useSignal(false);
  return (
    <form
      class="address"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        const url = parseAddress(text.value);
        wrong.value = !url;
        if (url) void thenClose(openAddress(url));
      }}
    >
      <label for="model-address">or give its address</label>
      <div class="row">
        <input
          id="model-address"
          type="url"
          inputMode="url"
          autocomplete="off"
          spellcheck={false}
          placeholder="https://…/model.gguf"
          value={text.value}
          aria-invalid={wrong.value}
          aria-describedby="model-address-hint"
          onInput={(event) => {
            text.value = event.currentTarget.value;
            wrong.value = false;
          }}
        />
        <button type="submit" class="plain">
          Open
        </button>
      </div>
      <p class="hint" id="model-address-hint" role={wrong.value ? 'alert' : undefined}>
        {wrong.value
          ? 'That is not an address. It begins with https:// and ends in .gguf.'
          : 'Your browser fetches it from there directly; nobody else is asked.'}
      </p>
    </form>
  );
}

function close(): void {
  panel.value = null;
  loadTrouble.value = null; // It was read here; no need to say it again outside.
}

/** The model that is open, and the ways to another. */
export function ModelsPanel() {
  const open = model.value;
  return (
    <Dialog title="Model" kind="card" onClose={close}>
      {open && <Facts open={open} />}
      <section class="open-model">
        <h3>Open a model of your own</h3>
        {loading.value ? (
          <LoadingState state={loading.value} />
        ) : (
          <>
            {loadTrouble.value && <TroubleNote trouble={loadTrouble.value} />}
            <p>
              A GGUF file of a text model: Llama, Qwen, Gemma, Phi, SmolLM and their kin. Models of 0.3 to 1
              billion parameters, as Q4_K_M or Q8_0, are a good start.
            </p>
            <FromDisk />
            <FromAddress />
            {open && !open.embedded && (
              <p>
                <button type="button" class="link" onClick={() => void thenClose(openEmbedded())}>
                  Go back to the small model
                </button>
              </p>
            )}
          </>
        )}
      </section>
    </Dialog>
  );
}
