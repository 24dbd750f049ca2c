import { useSignalEffect } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Announcer } from './components/announcer.tsx';
import { Composer } from './components/composer.tsx';
import { DropZone } from './components/dropzone.tsx';
import { Header } from './components/header.tsx';
import { ModelsPanel } from './components/models-panel.tsx';
import { NoticeBar } from './components/notice.tsx';
import { OpeningBar } from './components/opening.tsx';
import { SettingsPanel } from './components/settings-panel.tsx';
import { Sidebar, SidebarSheet } from './components/sidebar.tsx';
import { Transcript } from './components/transcript.tsx';
import { run } from './generate.ts';
import { current } from './state.ts';
import { panel, wide } from './view.ts';

/** Escape stops an answer, unless a dialog is open: there it closes the dialog. */
function useEscape(): void {
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      if (event.key === 'Escape' && !panel.value && run.value) {
        event.preventDefault();
        run.value.stop();
      }
    };
    window.addEventListener('keydown', listen);
    return () => window.removeEventListener('keydown', listen);
  }, []);
}

/** The window is named after the conversation. */
function useTitle(): void {
  useSignalEffect(() => {
    const title = current.value?.title;
    document.title = title ? `${title} · Inkling` : 'Inkling';
  });
}

export function App() {
  useEscape();
  useTitle();
  return (
    <div class="app">
      <a class="skip" href="#composer-input">
        Skip to the message box
      </a>
      {wide.value && <Sidebar />}
      <div class="stage">
        <Header />
        <Transcript />
        <div class="foot">
          <OpeningBar />
          <Composer />
        </div>
      </div>
      {panel.value === 'conversations' && <SidebarSheet />}
      {panel.value === 'settings' && <SettingsPanel />}
      {panel.value === 'models' && <ModelsPanel />}
      <NoticeBar />
      <Announcer />
      <DropZone />
    </div>
  );
}
