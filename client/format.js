/**
 * Tasks, times and errors as text.
 *
 * Rules that hold here:
 * - The page shows a task's own text unchanged, and translates only known codes.
 * - A task without a prompt has a title too, so that every card and button has a label.
 */

import { has, languageTag, t } from './i18n.js';

export const MODES = ['landscape', 'orbits', 'weave', 'bloom', 'story'];

/** @param {import('./board.js').Task} task */
export function titleOf(task) {
  return task.prompt.trim() || task.id;
}

/** @param {import('./board.js').Task} task @returns {'active'|'cancelling'|'completed'|'failed'|'cancelled'} */
export function statusOf(task) {
  return task.status === 'failed' && task.error === 'cancelled' ? 'cancelled' : task.status;
}

/** @param {import('./board.js').Task} task */
export function modeOf(task) {
  return MODES.includes(task.mode) ? t(`mode_${task.mode}`) : task.mode;
}

/** @param {string} mode @returns {string} the symbol that stands for it */
export function modeIcon(mode) {
  return MODES.includes(mode) ? mode : 'any';
}

/** @param {import('./board.js').Task} task @returns {string} why it failed */
export function errorOf(task) {
  const key = `error_${task.refusal?.code ?? task.error}`;
  return has(key) ? t(key, task.refusal ?? {}) : task.error || t('no_reason');
}

/**
 * @param {import('./board.js').Task} task
 * @returns {string} what the program says that works on it; '' when it says nothing
 */
export function newsOf(task) {
  const key = `stage_${task.stage?.name}`;
  return has(key) ? t(key, task.stage) : task.message;
}

/** @param {{code?: unknown, message?: unknown}} error  as the server sends it */
export function refusalOf(error) {
  return has(`error_${error?.code}`) ? t(`error_${error.code}`) : String(error?.message ?? error?.code ?? t('error_unknown'));
}

/** @param {import('./board.js').Task} task @param {number} now @returns {string} such as 1:05 */
export function durationOf(task, now) {
  return clockOf((task.endedAt ?? now) - task.startedAt);
}

/**
 * @param {import('./board.js').Task} task
 * @param {number} now
 * @returns {string} such as "about 1:05 left"; '' when that is not known, or was wrong
 */
export function leftOf(task, now) {
  if (task.status !== 'active' || task.eta === null || task.eta <= now) return '';
  return t('left', { time: clockOf(task.eta - now) });
}

function clockOf(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] > 0 ? parts : parts.slice(1);
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

/** @param {number} time @param {number} now @returns {string} such as "3 minutes ago" */
export function agoOf(time, now) {
  const minutes = Math.floor((now - time) / 60_000);
  if (minutes < 1) return t('just_now');
  const format = new Intl.RelativeTimeFormat(languageTag(), { numeric: 'always' });
  if (minutes < 60) return format.format(-minutes, 'minute');
  if (minutes < 1440) return format.format(-Math.floor(minutes / 60), 'hour');
  return format.format(-Math.floor(minutes / 1440), 'day');
}
