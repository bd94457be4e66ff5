/**
 * Envelopes as JSON that every server can read.
 *
 * Rules that hold here:
 * - The client refuses at once, by a TypeError, what the server would refuse later:
 *   one body that the server cannot read takes all events of its batch with it.
 * - Half of a surrogate pair, as a cut through an emoji leaves it, becomes U+FFFD:
 *   UTF-8 cannot represent it, and strict parsers refuse its escape.
 */

// Levels of `data`, and characters of a name (PROTOCOL.md, section 11).
const MAX_DEPTH = 128;
const MAX_NAME = 128;

/**
 * @param {object} envelope
 * @returns {string}
 * @throws {TypeError} when JSON cannot represent the envelope, or the server would refuse it
 */
export function encode(envelope) {
  /** How deep each object lies; the envelope at 0. @type {Map<unknown, number>} */
  const depths = new Map();
  const text = JSON.stringify(envelope, function (name, value) {
    // `value` is what `toJSON` gave: Node's Buffer has one, which makes it an object of numbers.
    if (isBytes(this[name])) {
      throw new TypeError('bytes are no JSON: send them as base64 text');
    }
    const depth = (depths.get(this) ?? -1) + 1;
    if (depth > MAX_DEPTH) throw new TypeError(`data nested deeper than ${MAX_DEPTH} levels`);
    if (typeof value === 'object') depths.set(value, depth);
    return value;
  });
  // `JSON.stringify` escapes a lone surrogate, and nothing else above U+001F. An escaped backslash may stand before a "ud".
  return text.replace(/\\\\|\\ud[89a-f]../g, (found) => (found[1] === 'u' ? '\ufffd' : found));
}

/** @param {unknown} value @returns {boolean} */
function isBytes(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value) || (typeof Blob === 'function' && value instanceof Blob);
}

/** @param {string} text @returns {number} bytes of UTF-8 */
export function byteLength(text) {
  return new TextEncoder().encode(text).length;
}

/**
 * @param {string} kind `event`, `room` or `key`
 * @param {unknown} name
 * @throws {TypeError} when it cannot be the name of an event, a room or a key
 */
export function checkName(kind, name) {
  if (typeof name !== 'string' || name === '' || [...name].length > MAX_NAME) {
    throw new TypeError(`${kind}: no string of 1 to ${MAX_NAME} characters`);
  }
}
