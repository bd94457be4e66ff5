/*
 * The theme, decided before the first paint: this is a classic script in the
 * head, because a module would run after a flash of the wrong colours.
 *
 * Rules that hold here:
 * - A stored choice wins; without one the page follows the system, also when
 *   the system changes its mind.
 * - CSS reads data-theme and nothing else.
 */
(() => {
  const root = document.documentElement;
  const system = window.matchMedia('(prefers-color-scheme: dark)');

  const stored = () => {
    try {
      return window.localStorage.getItem('rtpush.theme');
    } catch {
      return null;
    }
  };

  const follow = () => {
    const choice = stored();
    const chosen = choice === 'light' || choice === 'dark';
    root.dataset.theme = chosen ? choice : system.matches ? 'dark' : 'light';
  };

  follow();
  system.addEventListener('change', follow);
})();
