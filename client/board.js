/**
 * The task board: a fold of the server's events into tasks and finished tasks.
 *
 * Rules that hold here:
 * - No DOM, no clock, no network: a board follows from the envelopes and the
 *   times that were passed in, so it can be tested anywhere.
 * - Any client can send a task. The board copies only the fields named here, and
 *   checks the type of each; a field of another type counts as absent, and nothing
 *   throws.
 * - Maps hold the tasks under String(id): 1 and "1" are one task, and "__proto__"
 *   is an id like any other.
 * - A snapshot replaces the whole board, except for drafts, which the server does
 *   not know yet.
 */

/**
 * @typedef {object} Task
 * @property {string} id
 * @property {'active'|'cancelling'|'completed'|'failed'|'cancelled'} status
 * @property {string} prompt         or else its title
 * @property {string} mode
 * @property {string|null} worker    the program that alone does it; null: any
 * @property {object|null} formData  unchanged, so that a retry sends the same
 * @property {string|null} room
 * @property {string|null} owner      whoever alone may change it, beside publishers
 * @property {number} startedAt      milliseconds
 * @property {number|null} endedAt   milliseconds
 * @property {number} progress       0 to 100
 * @property {boolean} taken          whether a program has reported on it
 * @property {boolean} claimed        whether a program that takes any task has it
 * @property {string} message
 * @property {object|null} stage     the message as a name and numbers, to be translated
 * @property {string|null} picture   a data URL: the result, or a preview of it
 * @property {string} text           the result as text, or what there is of it
 * @property {string} error
 * @property {{[name: string]: any}|null} refusal  the error as an object, with its code
 * @property {number|null} place     in its queue, from 1; null: not known, or not queued
 * @property {number|null} eta       when it is likely to end, in milliseconds; null: not known
 * @property {boolean} draft         created in this tab and not yet confirmed by the server
 */

/** @typedef {{tasks: Map<string, Task>, finished: Map<string, Task>}} Board */

const MAX_FINISHED = 50;
const ENDS = new Set(['completed', 'failed', 'cancelled']);
const PICTURE_PREFIXES = ['data:image/svg+xml;base64,', 'data:image/png;base64,'];

/** @returns {Board} */
export function emptyBoard() {
  return { tasks: new Map(), finished: new Map() };
}

/**
 * Fold one envelope into the board.
 *
 * @param {Board} board  changed in place
 * @param {{event?: unknown, data?: unknown, room?: unknown}} envelope
 * @param {number} now   milliseconds
 * @returns {boolean} whether the board may look different now
 */
export function applyEvent(board, envelope, now) {
  const data = asObject(envelope.data);
  if (data === null) return false;
  if (envelope.event === 'active_tasks') return applySnapshot(board, data, envelope.room, now);
  if (envelope.event === 'task_estimates') return applyEstimates(board, data.tasks);
  const id = taskId(data.id);
  const handler = id !== null && HANDLERS.get(envelope.event);
  return handler ? handler(board, id, withRoom(data, envelope.room), now) : false;
}

/**
 * Show a task before the server confirms it.
 *
 * @param {Board} board
 * @param {object} data  the data of the `task_created` that is on its way
 * @param {number} now
 */
export function addDraft(board, data, now) {
  const task = newTask(taskId(data.id), data, now);
  board.tasks.set(task.id, { ...task, draft: true });
}

/**
 * The server has accepted a draft: from now on a snapshot without it removes it.
 *
 * @param {Board} board
 * @param {string} id
 */
export function confirmDraft(board, id) {
  const task = board.tasks.get(id);
  if (task) board.tasks.set(id, { ...task, draft: false });
}

/**
 * The server has refused a draft: it fails, in this tab only.
 *
 * @param {Board} board
 * @param {string} id
 * @param {string} error
 * @param {number} now   milliseconds
 * @returns {boolean} whether the board has changed
 */
export function refuseDraft(board, id, error, now) {
  return board.tasks.get(id)?.draft === true && end(board, id, 'failed', { error }, now);
}

/**
 * All tasks, the newest first, active or finished: a card keeps its place when its
 * task ends.
 *
 * @param {Board} board
 * @returns {Task[]}
 */
export function tasksByStart(board) {
  const all = [...board.finished.values(), ...board.tasks.values()];
  return all.reverse().sort((a, b) => b.startedAt - a.startedAt);
}

/**
 * @param {Board} board
 * @returns {boolean} whether a program works on tasks that are for any
 */
export function hasWorker(board) {
  return [...board.tasks.values()].some((task) => task.taken && task.worker === null);
}

const HANDLERS = new Map([
  ['task_created', create],
  ['task_claimed', progress],
  ['task_progress', progress],
  ['task_requeued', requeued],
  ['task_completed', (board, id, data, now) => end(board, id, 'completed', data, now)],
  ['task_failed', (board, id, data, now) => end(board, id, 'failed', data, now)],
  ['task_cancel', cancelling],
  ['task_cancelled', (board, id, data, now) => end(board, id, 'cancelled', data, now)],
]);

function create(board, id, data, now) {
  board.finished.delete(id);
  return upsert(board, id, data, now);
}

function progress(board, id, data, now) {
  return board.finished.has(id) ? false : upsert(board, id, data, now);
}

/** Its worker is lost, or gave it back: the next one begins anew. */
function requeued(board, id, data, now) {
  const known = board.tasks.get(id);
  if (!known) return progress(board, id, data, now);
  board.tasks.set(id, { ...known, worker: null, claimed: false, taken: false, progress: 0, message: '', stage: null, text: '', picture: null });
  return true;
}

function cancelling(board, id) {
  const known = board.tasks.get(id);
  if (known) board.tasks.set(id, { ...known, status: 'cancelling' });
  return known !== undefined;
}

function upsert(board, id, data, now) {
  const known = board.tasks.get(id);
  board.tasks.set(id, known ? { ...merge(known, data, now), draft: false } : newTask(id, data, now));
  return true;
}

function end(board, id, status, data, now) {
  if (board.finished.has(id)) return false;
  const known = board.tasks.get(id) ?? newTask(id, data, now);
  board.tasks.delete(id);
  board.finished.set(id, asEnded(merge(known, data, now), status, data, now));
  trimFinished(board);
  return true;
}

function applySnapshot(board, data, room, now) {
  const stays = (task) => task.draft || (typeof room === 'string' && task.room !== room);
  const before = board.tasks;
  board.tasks = keep(board.tasks, stays);
  board.finished = keep(board.finished, stays);
  // The server sends the latest end first; the Map is in the order of the ends.
  for (const raw of asList(data.finished).reverse()) addFinished(board, withRoom(raw, room), now);
  for (const raw of asList(data.tasks)) addActive(board, withRoom(raw, room), before, now);
  applyEstimates(board, data.estimates);
  trimFinished(board);
  return true;
}

function applyEstimates(board, estimates) {
  for (const { id, place, eta } of asList(estimates)) {
    const known = board.tasks.get(taskId(id));
    if (known) board.tasks.set(known.id, { ...known, place: asCount(place), eta: asCount(eta) });
  }
  return true;
}

function addActive(board, raw, before, now) {
  const id = taskId(raw.id);
  if (id === null) return;
  const fallback = before.get(id)?.startedAt ?? now;
  board.tasks.set(id, newTask(id, raw, now, fallback));
  board.finished.delete(id);
}

function addFinished(board, raw, now) {
  const id = taskId(raw.id);
  if (id === null) return;
  board.tasks.delete(id);
  board.finished.set(id, asEnded(newTask(id, raw, now), ENDS.has(raw.status) ? raw.status : 'failed', raw, now));
}

function newTask(id, data, now, startedAt = now) {
  const blank = {
    id, status: 'active', prompt: '', mode: '', worker: null, formData: null, room: null, owner: null, startedAt, endedAt: null,
    progress: 0, taken: false, claimed: false, message: '', stage: null, picture: null, text: '', error: '', refusal: null, draft: false,
    place: null, eta: null,
  };
  return merge(blank, data, now);
}

function merge(task, data, now) {
  const form = asObject(data.formData);
  const message = asText(data.message);
  const claimed = task.claimed || (data.attempt > 0 && asText(data.worker) !== null);
  return {
    ...task,
    status: data.status === 'cancelling' ? 'cancelling' : task.status,
    formData: form ?? task.formData,
    prompt: asText(form?.prompt) ?? asText(data.prompt) ?? asText(form?.title) ?? asText(data.title) ?? task.prompt,
    worker: claimed ? null : asText(data.worker) ?? task.worker,
    mode: asText(data.mode) ?? asText(form?.mode) ?? task.mode,
    room: asText(data.room) ?? task.room,
    owner: asText(data.owner) ?? task.owner,
    startedAt: asTime(data.startTime, now) ?? task.startedAt,
    progress: asPercent(data.progress) ?? task.progress,
    place: claimed || message !== null || data.progress !== undefined ? null : task.place,
    taken: task.taken || claimed || message !== null || data.progress !== undefined,
    claimed,
    message: message ?? task.message,
    stage: message === null ? task.stage : asObject(data.stage),
    picture: pictureOf(data) ?? task.picture,
    text: textOf(data, task.text),
  };
}

/** A result is the last word; before it, text may have come in pieces. */
function textOf(data, before) {
  const more = asObject(data.append)?.text;
  const grown = typeof more === 'string' ? before + more : before;
  return asText(asObject(data.result)?.text) ?? asText(data.result) ?? asText(data.text) ?? grown;
}

function asEnded(task, status, data, now) {
  return {
    ...task,
    status,
    draft: false,
    progress: status === 'completed' ? 100 : task.progress,
    error: status === 'failed' ? errorText(data.error) : '',
    refusal: status === 'failed' ? asObject(data.error) : null,
    endedAt: asTime(data.endTime, now) ?? now,
  };
}

function trimFinished(board) {
  const byEnd = [...board.finished.values()].reverse().sort((a, b) => b.endedAt - a.endedAt);
  const surplus = byEnd.slice(MAX_FINISHED);
  for (const task of surplus) board.finished.delete(task.id);
}

function keep(tasks, wanted) {
  return new Map([...tasks].filter(([, task]) => wanted(task)));
}

function withRoom(data, room) {
  return typeof room === 'string' ? { ...data, room } : data;
}

function taskId(value) {
  return typeof value === 'string' || Number.isSafeInteger(value) ? String(value) : null;
}

function pictureOf(data) {
  return asPicture(asObject(data.result)?.image) ?? asPicture(data.preview);
}

/** Only data URLs: every browser that shows the board would fetch any other. */
function asPicture(value) {
  const known = typeof value === 'string' && PICTURE_PREFIXES.some((prefix) => value.startsWith(prefix));
  return known ? value : null;
}

function errorText(value) {
  return asText(value) ?? asText(asObject(value)?.message) ?? '';
}

function asText(value) {
  if (typeof value === 'string') return value;
  return typeof value === 'number' ? String(value) : null;
}

function asPercent(value) {
  return Number.isFinite(value) ? Math.min(100, Math.max(0, value)) : null;
}

function asCount(value) {
  return Number.isFinite(value) && value > 0 ? value : null;
}

/** Accepts seconds too. A time in the future becomes now: the clocks of devices differ. */
function asTime(value, now) {
  if (!Number.isFinite(value) || value <= 0) return null;
  return Math.min(now, value < 1e11 ? value * 1000 : value);
}

function asObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : null;
}

function asList(value) {
  return Array.isArray(value) ? value.filter((item) => asObject(item) !== null) : [];
}
