/**
 * The form that creates a task.
 *
 * Rules that hold here:
 * - The error for an empty prompt is shown next to the field, not in a toast.
 * - The form clears the prompt only after it has submitted it.
 */

import { setIcon, setText } from './dom.js';
import { t } from './i18n.js';

const COUNT_WARNS_AT = 0.9;

export class TaskForm {
  /** @param {HTMLFormElement} form @param {(formData: {prompt: string, mode: string}) => void} onSubmit */
  constructor(form, onSubmit) {
    this.form = form;
    this.prompt = form.querySelector('#prompt');
    this.mode = form.querySelector('#mode');
    this.onSubmit = onSubmit;
    form.addEventListener('submit', (event) => this.#submit(event));
    form.addEventListener('keydown', (event) => this.#submitByKey(event));
    this.prompt.addEventListener('input', () => this.refresh());
    this.mode.addEventListener('change', () => this.refresh());
    for (const idea of form.querySelectorAll('.idea')) {
      idea.addEventListener('click', () => this.#useIdea(idea.textContent));
    }
    this.refresh();
  }

  /** Show what follows from the fields: the count, the sign of the mode. */
  refresh() {
    const used = this.prompt.value.length;
    const count = this.form.querySelector('#count');
    setText(count, `${used} / ${this.prompt.maxLength}`);
    count.classList.toggle('full', used >= this.prompt.maxLength * COUNT_WARNS_AT);
    setIcon(this.form.querySelector('.mode-field .icon'), this.mode.value);
    setText(this.form.querySelector('#submit'), t(this.mode.value === 'story' ? 'submit_story' : 'submit'));
    const key = /Mac|iP(hone|ad)/.test(navigator.platform) ? '⌘' : 'Ctrl';
    setText(this.form.querySelector('#hint'), t('submit_hint', { key }));
    if (used > 0) this.#showMissing(false);
  }

  #useIdea(text) {
    this.prompt.value = text;
    this.refresh();
    this.prompt.focus();
  }

  #submitByKey(event) {
    // Enter also ends the composition of a Chinese word, and must not submit then.
    if (event.key !== 'Enter' || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const prompt = this.prompt.value.trim();
    this.#showMissing(prompt === '');
    if (prompt === '') return this.prompt.focus();
    this.onSubmit({ prompt, mode: this.mode.value });
    this.prompt.value = '';
    return this.refresh();
  }

  #showMissing(missing) {
    this.form.querySelector('#prompt-error').hidden = !missing;
    this.prompt.setAttribute('aria-invalid', String(missing));
  }
}
