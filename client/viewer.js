/**
 * View one picture, and download it.
 *
 * Rules that hold here:
 * - The dialog is the browser's own, with Escape, focus trap and return of the focus.
 * - A downloaded file has the prompt as its name, without characters that some file
 *   systems refuse.
 */

import { icon, setText } from './dom.js';
import { modeOf, titleOf } from './format.js';

export class Viewer {
  #task = null;

  /** @param {HTMLDialogElement} dialog */
  constructor(dialog) {
    this.dialog = dialog;
    dialog.querySelector('.close').append(icon('close'));
    dialog.querySelector('.close').addEventListener('click', () => dialog.close());
    dialog.querySelector('.download').addEventListener('click', () => download(this.#task));
    dialog.addEventListener('click', (event) => {
      if (event.target === dialog) dialog.close();
    });
  }

  /** @param {import('./board.js').Task} task  one that has a picture */
  open(task) {
    this.#task = task;
    const image = this.dialog.querySelector('img');
    image.src = task.picture;
    image.alt = titleOf(task);
    setText(this.dialog.querySelector('.title'), titleOf(task));
    setText(this.dialog.querySelector('.mode'), modeOf(task));
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** @param {import('./board.js').Board} board  follow the picture while it is being drawn */
  follow(board) {
    if (!this.dialog.open) return;
    const task = board.tasks.get(this.#task.id) ?? board.finished.get(this.#task.id);
    if (task && task.picture !== this.#task.picture) this.open(task);
  }
}

/** @param {import('./board.js').Task} task */
export function download(task) {
  const cut = task.picture.indexOf(',');
  const isPng = task.picture.startsWith('data:image/png');
  const url = URL.createObjectURL(decode(task.picture.slice(cut + 1), isPng ? 'image/png' : 'image/svg+xml'));
  const link = document.createElement('a');
  link.href = url;
  link.download = `${fileName(titleOf(task))}.${isPng ? 'png' : 'svg'}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

function decode(base64, type) {
  let text = '';
  try {
    text = atob(base64);
  } catch {
    // Not base64 after all: the file is as empty as the picture.
  }
  return new Blob([Uint8Array.from(text, (char) => char.charCodeAt(0))], { type });
}

function fileName(title) {
  const words = title.normalize('NFKC').match(/[\p{L}\p{N}]+/gu) ?? ['picture'];
  return [...words.join('-')].slice(0, 60).join('');
}
