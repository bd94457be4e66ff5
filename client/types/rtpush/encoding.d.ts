/**
 * @param {object} envelope
 * @returns {string}
 * @throws {TypeError} when JSON cannot represent the envelope, or the server would refuse it
 */
export function encode(envelope: object): string;
/** @param {string} text @returns {number} bytes of UTF-8 */
export function byteLength(text: string): number;
/**
 * @param {string} kind `event`, `room` or `key`
 * @param {unknown} name
 * @throws {TypeError} when it cannot be the name of an event, a room or a key
 */
export function checkName(kind: string, name: unknown): void;
