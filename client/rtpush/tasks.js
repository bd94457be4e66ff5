/**
 * The tasks that a socket tells of, folded into lists.
 *
 * Rules that hold here:
 * - Snapshot plus later events is the whole truth (PROTOCOL.md, section 6). What
 *   comes before the first snapshot waits for it.
 * - Lists are never changed, only replaced: who has one may keep it.
 */

import { isBehind } from './cursor.js';

/** @typedef {import('./wires.js').Envelope} Envelope */
/** @typedef {{id: string|number, [field: string]: any}} Task */
/** @typedef {{tasks: Task[], finished: Task[]}} Tasks active ones oldest first, finished ones newest first */

const MOST_FINISHED = 100;
// A Map, because others choose the events' names: one may be that of a property.
const ENDS = new Map([['task_completed', 'completed'], ['task_failed', 'failed']]);

export class TaskList {
  /** @type {Tasks} */
  value = { tasks: [], finished: [] };
  /** @type {unknown} */
  #at = null;
  /** @type {Envelope[]|null} */
  #early = [];

  /**
   * @param {Envelope} envelope
   * @returns {boolean} whether it has changed anything
   */
  take(envelope) {
    const { event, data, room } = envelope;
    if (typeof data !== 'object' || data === null) return false;
    if (event === 'active_tasks') return this.#replace(envelope);
    if (event !== 'task_created' && event !== 'task_progress' && !ENDS.has(event)) return false;
    if (this.#early !== null) this.#early.push(envelope);
    else if (!isBehind(envelope.id, this.#at)) return this.#apply(event, room === undefined ? data : { ...data, room });
    return false;
  }

  /** @param {Envelope} snapshot */
  #replace({ data, id, room }) {
    const { tasks, finished } = this.value;
    const kept = (/** @type {Task} */ task) => room !== undefined && task.room !== room;
    this.value = { tasks: [...tasks.filter(kept), ...listOf(data.tasks)], finished: [...listOf(data.finished), ...finished.filter(kept)] };
    if (room !== undefined) return true;
    this.#at = id;
    const early = this.#early ?? [];
    this.#early = null;
    early.forEach((envelope) => this.take(envelope));
    return true;
  }

  /**
   * @param {string} event
   * @param {Task} data
   */
  #apply(event, data) {
    const { tasks, finished } = this.value;
    const same = (/** @type {Task} */ task) => String(task.id) === String(data.id);
    const merged = { ...tasks.find(same), ...data };
    const status = ENDS.get(event);
    if (status !== undefined) {
      this.value = { tasks: tasks.filter((task) => !same(task)), finished: [{ ...merged, status, endTime: Date.now() }, ...finished.filter((task) => !same(task))].slice(0, MOST_FINISHED) };
    } else if (tasks.some(same)) {
      this.value = { tasks: tasks.map((task) => (same(task) ? merged : task)), finished };
    } else {
      this.value = { tasks: [...tasks, merged], finished };
    }
    return true;
  }
}

/** @param {unknown} value @returns {Task[]} */
function listOf(value) {
  return Array.isArray(value) ? value.filter((task) => typeof task === 'object' && task !== null) : [];
}
