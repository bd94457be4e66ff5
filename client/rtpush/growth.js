/**
 * What an event changes of a task: fields that it sets, and fields that grow (PROTOCOL.md, section 6).
 */

/**
 * @param {unknown} before
 * @param {unknown} more
 * @returns {unknown} the field's value with more appended
 */
export function grow(before, more) {
  if (typeof before === 'string' && typeof more === 'string') return before + more;
  return Array.isArray(before) && Array.isArray(more) ? [...before, ...more] : more;
}

/**
 * @param {{[field: string]: any}} task
 * @param {{[field: string]: any}} data  of one of the task's events
 * @returns {any} the task after the event
 */
export function changed(task, { append, ...fields }) {
  const grown = Object.entries(append ?? {}).map(([name, more]) => [name, grow(task[name], more)]);
  return { ...task, ...fields, ...Object.fromEntries(grown) };
}
