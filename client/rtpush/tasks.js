/**
 * A socket's task events, folded into lists of tasks.
 *
 * Rules that hold here:
 * - A snapshot and the events after it give the whole state (PROTOCOL.md, section 6).
 *   Events that come before the first snapshot wait for it.
 * - The lists are immutable: a change makes new ones.
 */

import { isBehind } from './cursor.js';
import { changed } from './growth.js';

/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {{id: string|number, [field: string]: any}} Task */
/** @typedef {{tasks: Task[], finished: Task[]}} Tasks active ones oldest first, finished ones newest first */

const MAX_FINISHED = 100;
// A Map, because any client chooses the events' names: one may be that of a property.
const FINAL_STATUS = new Map([['task_completed', 'completed'], ['task_failed', 'failed'], ['task_cancelled', 'cancelled']]);
const ACTIVE_STATUS = new Map([['task_created', 'queued'], ['task_claimed', 'running'], ['task_progress', 'running'], ['task_requeued', 'queued'], ['task_cancel', 'cancelling']]);

export class TaskList {
  /** @type {Tasks} */
  value = { tasks: [], finished: [] };
  /** The position of the last snapshot. @type {unknown} */
  #position = null;
  /** Events that wait for the first snapshot; null after it. @type {Envelope[]|null} */
  #pending = [];

  /**
   * Apply an envelope to the lists.
   *
   * @param {Envelope} envelope
   * @returns {boolean} whether the lists have changed
   */
  apply(envelope) {
    const { event, data, room } = envelope;
    if (typeof data !== 'object' || data === null) return false;
    if (event === 'active_tasks') return this.#applySnapshot(envelope);
    if (event === 'task_estimates') return this.#applyEstimates(data.tasks);
    if (!ACTIVE_STATUS.has(event) && !FINAL_STATUS.has(event)) return false;
    if (this.#pending !== null) this.#pending.push(envelope);
    else if (!isBehind(envelope.id, this.#position)) return this.#applyEvent(event, room === undefined ? data : { ...data, room });
    return false;
  }

  /** @param {Envelope} snapshot */
  #applySnapshot({ data, id, room }) {
    const { tasks, finished } = this.value;
    const kept = (/** @type {Task} */ task) => room !== undefined && task.room !== room;
    this.value = { tasks: [...tasks.filter(kept), ...listOf(data.tasks)], finished: [...listOf(data.finished), ...finished.filter(kept)] };
    this.#applyEstimates(data.estimates);
    if (room !== undefined) return true;
    this.#position = id;
    const pending = this.#pending ?? [];
    this.#pending = null;
    pending.forEach((envelope) => this.apply(envelope));
    return true;
  }

  /** @param {unknown} estimates */
  #applyEstimates(estimates) {
    const told = new Map(listOf(estimates).map(({ id, place, eta }) => [String(id), { place, eta }]));
    const tasks = this.value.tasks.map((task) => ({ ...task, ...told.get(String(task.id)) }));
    if (told.size > 0) this.value = { ...this.value, tasks };
    return told.size > 0;
  }

  /**
   * @param {string} event
   * @param {Task} data
   */
  #applyEvent(event, data) {
    const { tasks, finished } = this.value;
    const same = (/** @type {Task} */ task) => String(task.id) === String(data.id);
    const known = tasks.find(same) ?? { createdAt: Date.now() };
    const status = FINAL_STATUS.get(event);
    const merged = { ...changed(known, data), status: status ?? ACTIVE_STATUS.get(event) };
    if (merged.status === 'running') merged.startedAt ??= Date.now();
    if (merged.status !== 'queued' && 'place' in merged) merged.place = null;
    if (status !== undefined) {
      this.value = { tasks: tasks.filter((task) => !same(task)), finished: [{ ...merged, endTime: Date.now() }, ...finished.filter((task) => !same(task))].slice(0, MAX_FINISHED) };
    } else if (tasks.some(same)) {
      this.value = { tasks: tasks.map((task) => (same(task) ? merged : task)), finished };
    } else {
      this.value = { tasks: [...tasks, merged], finished: finished.filter((task) => !same(task)) };
    }
    return true;
  }
}

/** @param {unknown} value @returns {Task[]} */
function listOf(value) {
  return Array.isArray(value) ? value.filter((task) => typeof task === 'object' && task !== null) : [];
}
