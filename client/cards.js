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

import { hasWorker, tasksByStart } from './board.js';
import { setChildren, el, icon, setAttribute, setIcon, setText } from './dom.js';
import { agoOf, durationOf, errorOf, leftOf, modeIcon, modeOf, newsOf, statusOf, titleOf } from './format.js';
import { t } from './i18n.js';

const MAX_SHOWN = 60;
// Milliseconds after which a task that no program has taken is not just waiting for its turn.
const UNTAKEN = 10_000;

/**
 * @typedef {object} Actions
 * @property {(task: import('./board.js').Task) => void} cancel
 * @property {(task: import('./board.js').Task) => void} retry
 * @property {(task: import('./board.js').Task) => void} download
 * @property {(task: import('./board.js').Task) => void} enlarge
 */

export class Cards {
  #cards = new Map();
  #hasWorker = false;

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
    this.#hasWorker = hasWorker(board);
    const shown = tasks.slice(0, MAX_SHOWN);
    const ids = new Set(shown.map((task) => task.id));
    for (const id of [...this.#cards.keys()]) if (!ids.has(id)) this.#cards.delete(id);
    setChildren(this.grid, shown.map((task) => this.#card(task, now).node));
    return tasks.length - shown.length;
  }

  /** @param {number} now */
  tick(now) {
    for (const card of this.#cards.values()) card.tick(now, this.#hasWorker);
  }

  /** Bring a task's card into view. @param {string} id */
  reveal(id) {
    this.#cards.get(id)?.node.scrollIntoView({ block: 'nearest' });
  }

  /** Forget all cards, so that the next `show` makes them in the current language. */
  clear() {
    this.#cards.clear();
  }

  #card(task, now) {
    const card = this.#cards.get(task.id) ?? new Card(task.id, this.actions);
    this.#cards.set(task.id, card);
    card.update(task);
    card.tick(now, this.#hasWorker);
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
    this.story = el('p', { class: 'story', dir: 'auto', tabIndex: 0, hidden: true });
    this.title = el('h3', { dir: 'auto' });
    this.mode = el('span', { class: 'mode' });
    this.badge = el('span', { class: 'badge' });
    this.time = el('span', { class: 'time' });
    this.left = el('span', { class: 'left' });
    this.owner = el('span', { class: 'owner', dir: 'auto' });
    this.fill = el('div', { class: 'fill' });
    this.bar = el('div', { class: 'bar', role: 'progressbar', 'aria-valuemin': '0', 'aria-valuemax': '100' }, this.fill);
    this.message = el('p', { class: 'message', dir: 'auto' });
    this.more = el('button', { type: 'button', class: 'more', hidden: true, onclick: () => this.#unfold() });
    setText(this.more, t('show_all'));
    new ResizeObserver(() => this.#showMore()).observe(this.message);
    this.percent = el('span', { class: 'percent', 'aria-hidden': 'true' });
    this.cancel = button('cancel', 'close', act('cancel'));
    this.retry = button('retry', 'retry', act('retry'));
    this.download = button('download', 'download', act('download'));
    this.node = el('article', { class: 'card', 'data-task-id': id, tabIndex: -1 },
      this.picture, this.story, this.bar,
      el('div', { class: 'caption' },
        this.title,
        el('p', { class: 'meta' }, this.badge, this.mode, this.owner, this.time, this.left),
        el('div', { class: 'news' }, this.message, this.percent),
        this.more,
        el('div', { class: 'actions' }, this.cancel, this.retry, this.download)));
  }

  update(task) {
    if (task === this.#task) return;
    const hadFocus = this.node.contains(document.activeElement);
    const ended = this.#task !== null && this.#task.status !== task.status;
    this.#task = task;
    this.node.dataset.status = statusOf(task);
    this.node.classList.toggle('draft', task.draft);
    this.#showWords(task);
    this.#showProgress(task);
    this.#showPicture(task);
    this.#showStory(task);
    this.#showButtons(task);
    // The button that had the focus is gone; without this the focus falls to the page's top.
    if (ended && hadFocus) this.node.focus({ preventScroll: true });
  }

  /** What changes with time. @param {number} now @param {boolean} hasWorker */
  tick(now, hasWorker) {
    const task = this.#task;
    const duration = durationOf(task, now);
    setText(this.time, task.endedAt === null ? duration : agoOf(task.endedAt, now));
    setAttribute(this.time, 'title', `${t('elapsed')}: ${duration}`);
    setText(this.left, leftOf(task, now));
    const untaken = !task.taken && task.worker === null && !hasWorker && now - task.startedAt > UNTAKEN;
    setText(this.message, messageOf(task, untaken));
    this.#showMore();
  }

  #unfold() {
    const open = this.message.classList.toggle('open');
    setText(this.more, t(open ? 'show_less' : 'show_all'));
  }

  /** The button that unfolds a message is there while the message does not fit. */
  #showMore() {
    const { message } = this;
    if (!message.classList.contains('open')) this.more.hidden = message.scrollHeight <= message.clientHeight;
  }

  #showWords(task) {
    setText(this.title, titleOf(task));
    setAttribute(this.node, 'aria-label', titleOf(task));
    setText(this.mode, modeOf(task));
    const queued = task.status === 'active' && task.place !== null;
    setText(this.badge, t(`status_${queued ? 'queued' : statusOf(task)}`));
    setText(this.owner, task.owner === null ? '' : t('owner', { name: task.owner }));
  }

  #showProgress(task) {
    const whole = Math.round(task.progress);
    this.bar.hidden = task.status !== 'active';
    this.percent.hidden = this.bar.hidden || task.place !== null;
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

  /** A story stands where a picture hangs, and its newest line is in view. */
  #showStory(task) {
    const { story } = this;
    story.hidden = task.mode !== 'story' || task.text === '';
    this.picture.hidden = !story.hidden;
    if (story.hidden) return;
    const atEnd = story.scrollTop + story.clientHeight >= story.scrollHeight - 8;
    setText(story, task.text);
    if (task.status === 'active' && atEnd) story.scrollTop = story.scrollHeight;
  }

  #showButtons(task) {
    const name = titleOf(task);
    this.cancel.hidden = task.status !== 'active';
    // Another program's task is begun again by that program: nobody here would take it.
    this.retry.hidden = !['failed', 'cancelled'].includes(task.status) || task.worker !== null;
    this.download.hidden = task.status !== 'completed' || task.picture === null;
    for (const [key, node] of [['cancel', this.cancel], ['retry', this.retry], ['download', this.download]]) {
      setAttribute(node, 'aria-label', `${t(key)}: ${name}`);
    }
  }
}

function button(key, symbol, onclick) {
  return el('button', { type: 'button', class: `small ${key}`, onclick }, icon(symbol), t(key));
}

function isStory(task) {
  return task.mode === 'story';
}

function waitingOf(task, untaken) {
  if (untaken) return t('untaken');
  return task.place === null ? t('waiting') : t('place', { n: task.place });
}

function messageOf(task, untaken) {
  switch (statusOf(task)) {
    case 'failed':
      return errorOf(task);
    case 'completed':
      return isStory(task) ? '' : task.text;
    case 'cancelled':
      return '';
    default:
      if (task.draft) return t('draft');
      return (isStory(task) ? '' : task.text) || newsOf(task) || waitingOf(task, untaken);
  }
}
