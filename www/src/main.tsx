import { render } from 'preact';
import { App } from './app.tsx';
import { openAddress, openEmbedded, parseAddress, starting } from './engine.ts';
import { run } from './generate.ts';
import { onOtherTab, onStorageFailure } from './history.ts';
import { notify } from './notices.ts';
import { keepOffline } from './offline.ts';
import { keepSettings } from './settings.ts';
import { follow, restore } from './state.ts';
import { focusComposer, watchKeyboard, watchWidth } from './view.ts';
import './styles/base.css';
import './styles/layout.css';
import './styles/sidebar.css';
import './styles/controls.css';
import './styles/conversation.css';
import './styles/prose.css';
import './styles/panels.css';
import './styles/settings.css';

/** `?model=URL` opens that model; should it fail, the embedded one answers. */
async function openFirstModel(): Promise<void> {
  const wanted = new URLSearchParams(location.search).get('model');
  if (wanted !== null) {
    const url = parseAddress(wanted, document.baseURI);
    if (!url) notify('The address after “?model=” is not one. The small model was opened instead.');
    else if (await openAddress(url)) return;
  }
  await openEmbedded();
}

onStorageFailure((failure) =>
  notify(
    failure === 'full'
      ? 'The browser’s storage is full: this conversation is not kept. Delete old ones to make room.'
      : 'The browser does not let this page keep anything (a private window, perhaps). Conversations go when you close it.',
  ),
);
onOtherTab((change) => follow(change, run.value?.conversationId));
keepSettings();
watchWidth();
watchKeyboard();
void restore();
void openFirstModel().finally(() => (starting.value = false));
keepOffline();

render(<App />, document.getElementById('app')!);
// On a phone the keyboard would cover the first screen.
if (matchMedia('(hover: hover)').matches) focusComposer();
