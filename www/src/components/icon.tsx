// Line icons of one weight, drawn on a grid of 20.
const paths = {
  plus: 'M10 4v12M4 10h12',
  menu: 'M3.5 6h13M3.5 10h13M3.5 14h8',
  close: 'M5 5l10 10M15 5L5 15',
  send: 'M10 16V4.5M5 9.5l5-5 5 5',
  stop: 'M6 6h8v8H6z',
  copy: 'M7.5 7.5v-4h9v9h-4M3.5 7.5h9v9h-9z',
  check: 'M4 10.5l4 4 8-9',
  retry: 'M15.5 8A6 6 0 1 0 16 11.5M15.8 4v4h-4',
  edit: 'M4 16l.8-3.6L13.5 3.7l2.8 2.8L7.6 15.2zM11.7 5.5l2.8 2.8',
  trash: 'M4 5.5h12M8 5.5v-2h4v2M5.5 5.5l.7 11h7.6l.7-11M8.5 8.5v5M11.5 8.5v5',
  settings: 'M3.5 6h7M14.5 6h2M3.5 14h2M9.5 14h7M10.5 4v4h4V4zM5.5 12v4h4v-4z',
  down: 'M10 4v11.5M5 10.5l5 5 5-5',
  chevron: 'M6 8l4 4 4-4',
  file: 'M5 2.5h6.5L15.5 6.5v11H5zM11.5 2.5v4h4',
  sun: 'M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7ZM10 1.5v2M10 16.5v2M1.5 10h2M16.5 10h2M4 4l1.4 1.4M14.6 14.6L16 16M4 16l1.4-1.4M14.6 5.4L16 4',
  moon: 'M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3Z',
  arrow: 'M4 10h11.5M11 5.5l4.5 4.5-4.5 4.5',
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg
      class={name === 'stop' ? 'icon filled' : 'icon'}
      viewBox="0 0 20 20"
      aria-hidden="true"
      focusable="false"
    >
      <path d={paths[name]} />
    </svg>
  );
}

/** The mark: a drop of ink that is also the nib of a pen. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path
        fill-rule="evenodd"
        d="M16 1.5c-.5 0-9.2 11.3-9.2 18.2A9.2 9.2 0 0 0 15.3 28.9H16.7A9.2 9.2 0 0 0 25.2 19.7C25.2 12.8 16.5 1.5 16 1.5ZM16 4.2L16.65 16.3A2.3 2.3 0 1 1 15.35 16.3Z"
      />
    </svg>
  );
}
