/**
 * What has been said and the server has not answered yet.
 *
 * Rules that hold here:
 * - Every entry carries an idempotency key, so that saying it again is safe: it
 *   takes effect once. After a reconnect all entries are said again, in order.
 * - The box is bounded in number and in size. Who says something into a full one
 *   is told so at once.
 * - An entry that was said again as often as its `retries` allow is given up: it
 *   may be what the connections die of.
 * - The end of every entry is told to its `done`, once.
 */

import { newId } from './ids.js';

const MOST_ENTRIES = 1000;
const MOST_CHARACTERS = 16 << 20;

/** @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** @typedef {(error: Refusal|null, data?: any) => void} Done */
/** @typedef {{ack: string, text: string, done: Done, retries: number, tries: number}} Entry */

export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #size = 0;
  #count = 0;
  // Acks must not be mistaken for those of another tab or of an earlier page.
  #prefix = newId().slice(0, 12);

  /**
   * @param {object} envelope without ack and idempotency key; raises TypeError for what JSON cannot say
   * @param {Done} done
   * @param {number} retries how often it may be said again
   * @returns {Entry|null} null when the box is full
   */
  add(envelope, done, retries) {
    this.#count += 1;
    const ack = `${this.#prefix}:${this.#count}`;
    const text = encode({ ...envelope, ack, idempotency_key: `${this.#prefix}${newId()}` });
    if (this.#entries.size >= MOST_ENTRIES || this.#size + text.length > MOST_CHARACTERS) {
      done({ code: 'queue_full', message: 'Too much waits to be sent; try again later.' });
      return null;
    }
    const entry = { ack, text, done, retries, tries: 0 };
    this.#entries.set(ack, entry);
    this.#size += text.length;
    return entry;
  }

  /**
   * What to say on a new connection.
   *
   * @returns {string[]}
   */
  takeAll() {
    return [...this.#entries.values()].filter((entry) => this.take(entry)).map((entry) => entry.text);
  }

  /**
   * @param {Entry} entry
   * @returns {boolean} whether it may be said (again)
   */
  take(entry) {
    if (!this.#entries.has(entry.ack)) return false;
    entry.tries += 1;
    if (entry.tries <= entry.retries + 1) return true;
    this.settle(entry.ack, { code: 'given_up', message: 'It was sent again and again, and never answered.' });
    return false;
  }

  /** The connection was closed for a message that is too large: the largest is to blame. */
  blameLargest() {
    let largest = null;
    for (const entry of this.#entries.values()) {
      if (entry.tries > 0 && (largest === null || entry.text.length > largest.text.length)) largest = entry;
    }
    if (largest !== null) this.settle(largest.ack, { code: 'too_large', message: 'The server takes no message this large.' });
  }

  /**
   * @param {unknown} ack
   * @param {Refusal|null} error
   * @param {any} [data]
   */
  settle(ack, error, data) {
    const entry = this.#entries.get(/** @type {string} */ (ack));
    if (entry === undefined) return;
    this.#entries.delete(entry.ack);
    this.#size -= entry.text.length;
    entry.done(error, data);
  }
}

/**
 * JSON, or a TypeError: nothing is left out silently.
 *
 * @param {object} envelope
 */
export function encode(envelope) {
  return JSON.stringify(envelope, (_name, value) => {
    if (value instanceof ArrayBuffer || ArrayBuffer.isView(value) || (globalThis.Blob && value instanceof Blob)) {
      throw new TypeError('bytes are no JSON: send them as base64 text');
    }
    return value;
  });
}
