import { loading, model } from '../engine.ts';
import { theme } from '../settings.ts';
import { current } from '../state.ts';
import { panel, wide } from '../view.ts';
import { Icon } from './icon.tsx';
import { newChat } from './sidebar.tsx';

function isDark(): boolean {
  if (theme.value !== 'system') return theme.value === 'dark';
  return matchMedia('(prefers-color-scheme: dark)').matches;
}

function ModelButton() {
  const open = model.value;
  const name = open?.name ?? loading.value?.label ?? 'No model';
  return (
    <button
      type="button"
      class="model-button"
      aria-haspopup="dialog"
      aria-label={`Model: ${name}`}
      onClick={() => (panel.value = 'models')}
    >
      <span class="name">{name}</span>
      <Icon name="chevron" />
    </button>
  );
}

/** The line at the top: what is shown, which model answers, and the way to the settings. */
export function Header() {
  const dark = isDark();
  return (
    <header class="header">
      {!wide.value && (
        <button
          type="button"
          class="quiet"
          aria-haspopup="dialog"
          aria-label="Conversations"
          onClick={() => (panel.value = 'conversations')}
        >
          <Icon name="menu" />
        </button>
      )}
      <ModelButton />
      <div class="header-actions">
        {!wide.value && current.value && (
          <button type="button" class="quiet" onClick={newChat} aria-label="New chat" title="New chat">
            <Icon name="plus" />
          </button>
        )}
        {wide.value && (
          <button
            type="button"
            class="quiet"
            onClick={() => (theme.value = dark ? 'light' : 'dark')}
            aria-label={dark ? 'Light colours' : 'Dark colours'}
            title={dark ? 'Light colours' : 'Dark colours'}
          >
            <Icon name={dark ? 'sun' : 'moon'} />
          </button>
        )}
        <button
          type="button"
          class="quiet"
          aria-haspopup="dialog"
          onClick={() => (panel.value = 'settings')}
          aria-label="Settings"
          title="Settings"
        >
          <Icon name="settings" />
        </button>
      </div>
    </header>
  );
}
