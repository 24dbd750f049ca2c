import { loading, model } from '../engine.ts';
import { focusComposer, panel } from '../view.ts';
import { megabytes, people } from '../words.ts';
import { send } from './composer.tsx';
import { Icon, Mark } from './icon.tsx';

const prompts = [
  'Tell me a short story about a fox.',
  'Explain what a volcano is.',
  'What is the opposite of hot?',
  'Write a haiku about rain.',
  'What is a token in a language model?',
];

function EmbeddedWords() {
  return (
    <>
      <h1>
        A very small language model, <em>inside this page.</em>
      </h1>
      <p class="lead">
        It has 9 million parameters, thousands of times fewer than the models you may know. It chats, explains
        and tells short stories; its sums are often wrong and its facts may be invented. Nothing you write
        leaves this page.
      </p>
    </>
  );
}

function OpenedWords() {
  const open = model.value;
  if (!open) return null;
  const { parameters, quantization, fileSize } = open.info;
  return (
    <>
      <h1>
        {open.name}, <em>inside this page.</em>
      </h1>
      <p class="lead">
        {people(parameters)} parameters, {quantization}, {megabytes(fileSize)}. It answers from memory and can
        be wrong. Nothing you write leaves this page.
      </p>
    </>
  );
}

/** The first screen of a new chat. */
export function Welcome() {
  const embedded = model.value ? model.value.embedded : true;
  const opening = loading.value !== null && model.value === null;
  return (
    <div class="welcome">
      <Mark />
      {embedded ? <EmbeddedWords /> : <OpenedWords />}
      <h2 class="label" id="prompts-label">
        Begin with
      </h2>
      <ul class="prompts" aria-labelledby="prompts-label">
        {prompts.map((prompt) => (
          <li key={prompt}>
            <button
              type="button"
              onClick={() => {
                if (send(prompt)) focusComposer();
              }}
            >
              {prompt}
              <Icon name="arrow" />
            </button>
          </li>
        ))}
      </ul>
      <p class="bigger">
        {embedded ? 'For real work, ' : 'To change models, '}
        <button type="button" class="link" onClick={() => (panel.value = 'models')}>
          {embedded ? 'open a bigger model of your own' : 'open another'}
        </button>
        {', or drop a GGUF file anywhere on this page.'}
        {opening && <span class="visually-hidden"> The small model is still loading.</span>}
      </p>
    </div>
  );
}
