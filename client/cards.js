/**
 * The board as cards, one for each task.
 *
 * Rules that hold here:
 * - The page creates a card once and then updates it, so that focus, selection and
 *   running transitions survive the next event.
 * - Cards show the board; the caller decides what a button does.
 * - Any client can create thousands of tasks: the page shows the newest, and counts
 *   the others.
 */

import { tasksByStart } from './board.js';
import { setChildren, el, icon, setAttribute, setIcon, setText } from './dom.js';
import { durationOf, errorOf, modeIcon, modeOf, titleOf } from './format.js';
import { t } from './i18n.js';

const MAX_SHOWN = 60;

/**
 * @typedef {object} Actions
 * @property {(task: import('./board.js').Task) => void} cancel
 * @property {(task: import('./board.js').Task) => void} retry
 * @property {(task: import('./board.js').Task) => void} download
 * @property {(task: import('./board.js').Task) => void} enlarge
 */

export class Cards {
  #cards = new Map();

  /** @param {HTMLElement} grid @param {Actions} actions */
  constructor(grid, actions) {
    this.grid = grid;
    this.actions = actions;
  }

  /**
   * @param {import('./board.js').Board} board
   * @param {number} now milliseconds
   * @returns {number} how many tasks are not shown
   */
  show(board, now) {
    const tasks = tasksByStart(board);
    const shown = tasks.slice(0, MAX_SHOWN);
    const ids = new Set(shown.map((task) => task.id));
    for (const id of [...this.#cards.keys()]) if (!ids.has(id)) this.#cards.delete(id);
    setChildren(this.grid, shown.map((task) => this.#card(task, now).node));
    return tasks.length - shown.length;
  }

  /** @param {number} now */
  tick(now) {
    for (const card of this.#cards.values()) card.tick(now);
  }

  /** Forget all cards, so that the next `show` makes them in the current language. */
  clear() {
    this.#cards.clear();
  }

  #card(task, now) {
    const card = this.#cards.get(task.id) ?? new Card(task.id, this.actions);
    this.#cards.set(task.id, card);
    card.update(task, now);
    return card;
  }
}

class Card {
  #task = null;

  constructor(id, actions) {
    const act = (name) => () => actions[name](this.#task);
    this.art = icon('any');
    this.image = el('img', { hidden: true, decoding: 'async' });
    this.picture = el('button', { type: 'button', class: 'picture', onclick: act('enlarge') }, this.art, this.image);
    this.title = el('h3', { dir: 'auto' });
    this.mode = el('span', { class: 'mode' });
    this.badge = el('span', { class: 'badge' });
    this.time = el('span', { class: 'time', title: t('elapsed') });
    this.fill = el('div', { class: 'fill' });
    this.bar = el('div', { class: 'bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' }, this.fill);
    this.message = el('p', { class: 'message', dir: 'auto' });
    this.percent = el('span', { class: 'percent', 'aria-hidden': 'true' });
    this.cancel = button('cancel', 'close', act('cancel'));
    this.retry = button('retry', 'retry', act('retry'));
    this.download = button('download', 'download', act('download'));
    this.node = el('article', { class: 'card', 'data-task-id': id, tabIndex: -1 },
      this.picture, this.bar,
      el('div', { class: 'caption' },
        this.title,
        el('p', { class: 'meta' }, this.badge, this.mode, this.time),
        el('p', { class: 'news' }, this.message, this.percent),
        el('div', { class: 'actions' }, this.cancel, this.retry, this.download)));
  }

  update(task, now) {
    if (task === this.#task) return;
    const hadFocus = this.node.contains(document.activeElement);
    const ended = this.#task !== null && this.#task.status !== task.status;
    this.#task = task;
    this.node.dataset.status = task.status;
    this.node.classList.toggle('draft', task.draft);
    this.#showWords(task);
    this.#showProgress(task);
    this.#showPicture(task);
    this.#showButtons(task);
    this.tick(now);
    // The button that had the focus is gone; without this the focus falls to the page's top.
    if (ended && hadFocus) this.node.focus({ preventScroll: true });
  }

  tick(now) {
    setText(this.time, durationOf(this.#task, now));
  }

  #showWords(task) {
    setText(this.title, titleOf(task));
    setAttribute(this.node, 'aria-label', titleOf(task));
    setText(this.mode, modeOf(task));
    setText(this.badge, t(`status_${task.status}`));
    setText(this.message, messageOf(task));
  }

  #showProgress(task) {
    const whole = Math.round(task.progress);
    this.bar.hidden = this.percent.hidden = task.status !== 'active';
    this.fill.style.transform = `scaleX(${task.progress / 100})`;
    setAttribute(this.bar, 'aria-valuenow', String(whole));
    setAttribute(this.bar, 'aria-label', t('progress', { prompt: titleOf(task) }));
    setText(this.percent, `${whole}%`);
  }

  #showPicture(task) {
    const { image, picture } = this;
    if (task.picture !== null) {
      setAttribute(image, 'src', task.picture);
      setAttribute(image, 'alt', titleOf(task));
    }
    image.hidden = task.picture === null;
    picture.disabled = task.picture === null;
    setAttribute(picture, 'aria-label', t('enlarge', { prompt: titleOf(task) }));
    setIcon(this.art, modeIcon(task.mode));
  }

  #showButtons(task) {
    const name = titleOf(task);
    this.cancel.hidden = task.status !== 'active';
    this.retry.hidden = task.status !== 'failed';
    this.download.hidden = task.status !== 'completed' || task.picture === null;
    for (const [key, node] of [['cancel', this.cancel], ['retry', this.retry], ['download', this.download]]) {
      setAttribute(node, 'aria-label', `${t(key)}: ${name}`);
    }
  }
}

function button(key, symbol, onclick) {
  return el('button', { type: 'button', class: `small ${key}`, onclick }, icon(symbol), t(key));
}

function messageOf(task) {
  if (task.status === 'failed') return errorOf(task);
  if (task.status === 'completed') return '';
  return task.draft ? t('draft') : task.message || t('waiting');
}
