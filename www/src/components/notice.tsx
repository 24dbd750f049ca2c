import { dismissNotice, notice } from '../notices.ts';
import { Icon } from './icon.tsx';

/** The note at the foot of the page. */
export function NoticeBar() {
  const shown = notice.value;
  return (
    <div class="notices" role="status">
      {shown && (
        <div class="notice">
          <p>{shown.text}</p>
          {shown.action && (
            <button
              type="button"
              class="link"
              onClick={() => {
                shown.action?.run();
                dismissNotice();
              }}
            >
              {shown.action.label}
            </button>
          )}
          <button type="button" class="quiet" onClick={dismissNotice} aria-label="Dismiss">
            <Icon name="close" />
          </button>
        </div>
      )}
    </div>
  );
}
