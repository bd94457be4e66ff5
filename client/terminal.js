/**
 * The command line that does what the form does.
 *
 * Rules that hold here:
 * - The command can be pasted into a POSIX shell as it is: nothing inside the
 *   single quotes is a single quote.
 * - The clipboard API is missing on plain http, so there is an older way too.
 */

import { setText } from './dom.js';
import { t } from './i18n.js';
import { newId } from './rtpush/ids.js';

const COPIED_FOR = 2000;

/** @param {HTMLElement} box */
export function setUpTerminal(box) {
  const code = box.querySelector('code');
  const button = box.querySelector('button');
  button.addEventListener('click', async () => {
    if (!(await copy(code))) return;
    setText(button, t('copied'));
    setTimeout(() => {
      setText(button, t('copy'));
      showCommand(box);
    }, COPIED_FOR);
  });
}

/** @param {HTMLElement} box  gets a command that makes a new task each time */
export function showCommand(box) {
  const url = new URL('api/publish', document.baseURI);
  const data = { id: `terminal-${newId().slice(0, 8)}`, formData: { prompt: t('terminal_prompt'), mode: 'bloom' }, mode: 'bloom' };
  const body = JSON.stringify({ event: 'task_created', data });
  setText(box.querySelector('code'), `curl -X POST ${url} -H 'content-type: application/json' -d '${body}'`);
}

async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    window.getSelection().selectAllChildren(code);
    return document.execCommand('copy');
  }
}
