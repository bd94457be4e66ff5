/**
 * The list of recently finished tasks.
 *
 * Rules that hold here:
 * - The latest end comes first. A row is a button: it opens the picture, or scrolls
 *   to the card of a task that has none.
 */

import { finishedByEnd } from './board.js';
import { setChildren, el, icon, setAttribute, setText } from './dom.js';
import { agoOf, errorOf, modeIcon, titleOf } from './format.js';
import { t } from './i18n.js';

const MAX_SHOWN = 12;

export class FinishedList {
  #rows = new Map();

  /** @param {HTMLElement} list @param {(task: import('./board.js').Task) => void} onOpen */
  constructor(list, onOpen) {
    this.list = list;
    this.onOpen = onOpen;
  }

  /** @param {import('./board.js').Board} board @param {number} now */
  show(board, now) {
    const rows = new Map();
    for (const task of finishedByEnd(board).slice(0, MAX_SHOWN)) {
      const known = this.#rows.get(task.id);
      rows.set(task.id, known?.task === task ? known : this.#row(task));
    }
    this.#rows = rows;
    setChildren(this.list, [...rows.values()].map((row) => row.node));
    this.tick(now);
  }

  /** @param {number} now */
  tick(now) {
    for (const { task, time } of this.#rows.values()) setText(time, agoOf(task.endedAt, now));
  }

  /** Forget all rows, so that the next `show` makes them in the current language. */
  clear() {
    this.#rows.clear();
  }

  #row(task) {
    const time = el('span', { class: 'time' });
    const status = el('span', { class: 'badge' }, task.status === 'failed' ? errorOf(task) : t('status_completed'));
    const words = el('span', { class: 'words' },
      el('span', { class: 'title', dir: 'auto' }, titleOf(task)),
      el('span', { class: 'meta' }, status, time));
    const open = el('button', { type: 'button', onclick: () => this.onOpen(task) }, thumbnail(task), words);
    const node = el('li', { 'data-task': task.id, 'data-status': task.status }, open);
    return { task, time, node };
  }
}

function thumbnail(task) {
  const frame = el('span', { class: 'thumb' });
  if (task.picture === null) {
    frame.append(icon(modeIcon(task.mode)));
  } else {
    const image = el('img', { alt: '', decoding: 'async' });
    setAttribute(image, 'src', task.picture);
    frame.append(image);
  }
  return frame;
}
