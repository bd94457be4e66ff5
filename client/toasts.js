/**
 * Short notices that come and go.
 *
 * Rules that hold here:
 * - They are read out politely, so only what a person should know becomes one.
 * - One of each kind at a time: the newer replaces the older.
 * - A pointer or the focus on a notice keeps it from leaving.
 */

import { el, icon } from './dom.js';
import { t } from './i18n.js';

const SHOWN_FOR = 5000;
const ICONS = { good: 'check', warning: 'lost', bad: 'alert' };

/**
 * @param {string} kind  what it is about; also tests find it by this name
 * @param {'good'|'warning'|'bad'} mood
 * @param {string} text
 * @param {{stay?: boolean}} options  stay: until dismissed
 */
export function toast(kind, mood, text, { stay = false } = {}) {
  const box = document.getElementById('toasts');
  for (const old of [...box.children]) if (old.dataset.kind === kind) old.remove();
  const close = el('button', { type: 'button', class: 'quiet', 'aria-label': t('dismiss'), onclick: () => node.remove() }, icon('close'));
  const node = el('div', { class: `toast ${mood}`, 'data-kind': kind }, icon(ICONS[mood]), el('p', {}, text), close);
  box.append(node);
  if (!stay) leaveLater(node);
}

function leaveLater(node) {
  setTimeout(() => {
    if (node.matches(':hover, :focus-within')) leaveLater(node);
    else node.remove();
  }, SHOWN_FOR);
}
