/**
 * What has been said and the server has not answered yet.
 *
 * Rules that hold here:
 * - Every entry carries an idempotency key, so that saying it again is safe: it
 *   takes effect once. On a new connection all entries are said again, in order.
 * - The box is bounded in number and in size. Who says something into a full one
 *   is told so at once.
 * - An entry that was said again as often as its `retries` allow is given up: it
 *   may be what the connections die of.
 * - The end of every entry is told to its `done`, once.
 */

import { newId } from './ids.js';

const MOST_ENTRIES = 1000;
// On their way at the same time: of so many a server remembers the answers (PROTOCOL.md, section 5).
const MOST_AT_ONCE = 64;
const MOST_CHARACTERS = 16 << 20;

/** @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** @typedef {(error: Refusal|null, data?: any) => void} Done */
/** An Error with the protocol's code (section 9).
 * @typedef {Error & {code: string, data: object}} RtpushError */
/** How often an entry may be said again, after how many milliseconds without an
 * answer that is, and after how many it is too late for one.
 * @typedef {{retries: number, ackTimeout: number, timeout: number}} Limits */
/** @typedef {Limits & {ack: string, text: string, done: Done, tries: number, said?: boolean, again?: any, late?: any}} Entry */

export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  #size = 0;
  #count = 0;
  // Acks must not be mistaken for those of another tab or of an earlier page.
  #prefix = newId().slice(0, 12);

  /** @param {(text: string) => boolean} transmit whether there was a connection to say it on */
  constructor(transmit) {
    this.transmit = transmit;
  }

  /**
   * @param {object} envelope without ack and idempotency key; raises TypeError for what JSON cannot say
   * @param {Limits} limits
   * @param {Done} done
   */
  say(envelope, limits, done) {
    this.#count += 1;
    const ack = `${this.#prefix}:${this.#count}`;
    const text = encode({ ...envelope, ack, idempotency_key: `${this.#prefix}${newId()}` });
    if (this.#entries.size >= MOST_ENTRIES || this.#size + text.length > MOST_CHARACTERS) {
      done({ code: 'queue_full', message: 'Too much waits to be sent; try again later.' });
      return;
    }
    /** @type {Entry} */
    const entry = { ...limits, ack, text, done, tries: 0 };
    this.#entries.set(ack, entry);
    this.#size += text.length;
    entry.late = later(limits.timeout, () => this.settle(ack, { code: 'timeout', message: 'operation has timed out' }));
    this.#pump();
  }

  /** There is a new connection: say all of it again. */
  flush() {
    for (const entry of this.#entries.values()) entry.said = false;
    this.#pump();
  }

  #pump() {
    let count = 0;
    for (const entry of this.#entries.values()) {
      if (count++ === MOST_AT_ONCE) return;
      if (!entry.said) this.#transmit(entry);
    }
  }

  /** @param {Entry} entry */
  #transmit(entry) {
    if (entry.tries > entry.retries) {
      this.settle(entry.ack, { code: 'given_up', message: 'It was sent again and again, and never answered.' });
    } else if (this.transmit(entry.text)) {
      entry.said = true;
      entry.tries += 1;
      clearTimeout(entry.again);
      entry.again = later(entry.ackTimeout, () => this.#transmit(entry));
    }
  }

  /** The connection was closed for a message that is too large: the largest is to blame. */
  blameLargest() {
    const said = [...this.#entries.values()].filter(({ tries }) => tries > 0);
    const [largest] = said.sort((a, b) => b.text.length - a.text.length);
    this.settle(largest?.ack, { code: 'too_large', message: 'The server takes no message this large.' });
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
    clearTimeout(entry.again);
    clearTimeout(entry.late);
    entry.done(error, data);
    this.#pump();
  }
}

/** A timer, unless it would never end. @param {number} milliseconds @param {() => void} act */
function later(milliseconds, act) {
  return milliseconds < Infinity ? setTimeout(act, milliseconds) : undefined;
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

/**
 * @param {Refusal} refusal
 * @param {object} [data]
 * @returns {RtpushError}
 */
export function errorOf(refusal, data = refusal) {
  return Object.assign(new Error(refusal.message), { code: refusal.code, data });
}
