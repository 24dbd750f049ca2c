// What a model writes is not to be trusted: only links of harmless kinds become links.

const allowed = new Set(['http:', 'https:', 'mailto:']);

/** The address if a link may lead there, otherwise null. Relative addresses would lead into this page: null too. */
export function safeLink(href: string): string | null {
  // Control characters and blanks are dropped by browsers inside a scheme ("java\nscript:"): refuse them outright.
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u0020\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069]/.test(href)) return null;
  try {
    const url = new URL(href);
    if (!allowed.has(url.protocol)) return null;
    // "https://bank.example@evil.example" shows one host and leads to another.
    if (url.username || url.password) return null;
    return url.href;
  } catch {
    return null;
  }
}

/** Host of a link, for showing where it leads when its text says something else. */
export function hostOf(href: string): string {
  const url = new URL(href);
  return url.protocol === 'mailto:' ? url.pathname : url.host;
}
