// Runs before the first paint, so that a chosen theme does not flash. See src/settings.ts for the key.
try {
  const theme = localStorage.getItem('inkling.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage is closed: the system's colours it is.
}
