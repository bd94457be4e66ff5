/**
 * What an event changes of a task: fields that it sets, and fields that grow (PROTOCOL.md, section 6).
 */
/**
 * @param {unknown} before
 * @param {unknown} more
 * @returns {unknown} the field's value with more appended
 */
export function grow(before: unknown, more: unknown): unknown;
/**
 * @param {{[field: string]: any}} task
 * @param {{[field: string]: any}} data  of one of the task's events
 * @returns {any} the task after the event
 */
export function changed(task: {
    [field: string]: any;
}, { append, ...fields }: {
    [field: string]: any;
}): any;
