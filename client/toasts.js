/**
 * Toasts: short notices.
 *
 * Rules that hold here:
 * - Screen readers read them out, so only what the user should know becomes one.
 * - One of each kind at a time: the newer replaces the older.
 * - A toast stays while the pointer or the focus is on it.
 */

import { el, icon } from './dom.js';
import { t } from './i18n.js';

// Milliseconds.
const DURATION = 5000;
const ICONS = { good: 'check', warning: 'lost', bad: 'alert' };

/**
 * @param {string} kind  the topic; tests find the toast by it
 * @param {'good'|'warning'|'bad'} mood
 * @param {string} text
 * @param {{stay?: boolean}} options  stay: until the user dismisses it
 */
export function toast(kind, mood, text, { stay = false } = {}) {
  const box = document.getElementById('toasts');
  for (const old of [...box.children]) if (old.dataset.kind === kind) old.remove();
  const close = el('button', { type: 'button', class: 'quiet', 'aria-label': t('dismiss'), onclick: () => node.remove() }, icon('close'));
  const node = el('div', { class: `toast ${mood}`, 'data-kind': kind }, icon(ICONS[mood]), el('p', {}, text), close);
  box.append(node);
  if (!stay) removeLater(node);
}

function removeLater(node) {
  setTimeout(() => {
    if (node.matches(':hover, :focus-within')) removeLater(node);
    else node.remove();
  }, DURATION);
}
