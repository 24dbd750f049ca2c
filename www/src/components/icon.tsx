// Line icons of one weight, drawn on a grid of 20.
const paths = {
  plus: 'M10 4v12M4 10h12',
  menu: 'M3.500 6h13M3.500 10h13M3.500 14h8',
  close: 'M5 5l10 10M15 5L5 15',
  send: 'M10 16V4.500M5 9.500l5-5 5 5',
  stop: 'M6 6h8v8H6z',
  copy: 'M7.500 7.500v-4h9v9h-4M3.500 7.500h9v9h-9z',
  check: 'M4 10.500l4 4 8-9',
  retry: 'M15.500 8A6 6 0 1 0 16 11.500M15.800 4v4h-4',
  edit: 'M4 16l.8-3.600L13.500 3.700l2.800 2.800L7.600 15.200zM11.700 5.500l2.800 2.800',
  trash: 'M4 5.500h12M8 5.500v-2h4v2M5.500 5.500l.7 11h7.600l.7-11M8.500 8.500v5M11.500 8.500v5',
  settings: 'M3.500 6h7M14.500 6h2M3.500 14h2M9.500 14h7M10.500 4v4h4V4zM5.500 12v4h4v-4z',
  down: 'M10 4v11.500M5 10.500l5 5 5-5',
  chevron: 'M6 8l4 4 4-4',
  file: 'M5 2.500h6.500L15.500 6.500v11H5zM11.500 2.500v4h4',
  sun: 'M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7ZM10 1.500v2M10 16.500v2M1.500 10h2M16.500 10h2M4 4l1.400 1.400M14.600 14.600L16 16M4 16l1.400-1.400M14.600 5.400L16 4',
  moon: 'M16.500 11.800A7 7 0 0 1 8.200 3.500a7 7 0 1 0 8.300 8.300Z',
  arrow: 'M4 10h11.500M11 5.500l4.500 4.500-4.500 4.500',
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
        d="M16 1.500c-.5 0-9.200 11.300-9.200 18.200A9.200 9.200 0 0 0 15.300 28.900H16.700A9.200 9.200 0 0 0 25.200 19.700C25.200 12.800 16.500 1.500 16 1.500ZM16 4.2L16.65 16.3A2.3 2.3 0 1 1 15.35 16.3Z"
      />
    </svg>
  );
}
