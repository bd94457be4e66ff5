/**
 * The outbox: events that the server has not answered yet.
 *
 * Rules that hold here:
 * - Every entry carries an idempotency key, so that the client may send it again:
 *   it takes effect once. On a new connection the client sends all entries again,
 *   in order.
 * - The outbox is bounded in number and in size. An event that finds it full is
 *   refused at once.
 * - An entry that was sent again as often as its `retries` allow is given up: it
 *   may be the reason why the connections break.
 * - The outbox calls the `done` of every entry once. When the connection ends for
 *   good it does so at once: the next session may be another person's, and must
 *   not get what this one left.
 */

import { byteLength, encode } from './encoding.js';
import { newId } from './ids.js';

const MAX_ENTRIES = 1000;
// Entries sent and not answered: the server remembers the answers of so many (PROTOCOL.md, section 5).
const MAX_IN_FLIGHT = 64;
const MAX_CHARACTERS = 16 << 20;

/** `retry_after` in seconds.
 * @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** `data`: the arguments of the callback. `sent`: whether the event was sent, though not answered.
 * @typedef {(error: Refusal|null, data?: any, sent?: boolean) => void} Done */
/** An Error with the protocol's code (section 9).
 * @typedef {Error & {code: string, data: object}} RtpushError */
/** `retries`: how often an entry may be sent again. In milliseconds, `ackTimeout`:
 * without an answer for so long it is sent again; `timeout`: without an answer for
 * so long it is refused.
 * @typedef {{retries: number, ackTimeout: number, timeout: number}} Limits */
/** @typedef {Limits & {ack: string, text: string, done: Done, tries: number, sent?: boolean, ackTimer?: any, timer?: any}} Entry */

export class Outbox {
  /** By their `ack`, in the order in which they were added. @type {Map<string, Entry>} */
  #entries = new Map();
  /** Characters of all entries. */
  #size = 0;
  #count = 0;
  // Another tab or an earlier page must not take the answers to these acks for its own.
  #prefix = newId();
  #send;

  /** @param {(text: string) => boolean} send whether there was a connection to send on */
  constructor(send) {
    this.#send = send;
  }

  /**
   * Send an envelope until the server answers.
   *
   * @param {object} envelope without ack and idempotency key
   * @param {Limits} limits
   * @param {Done} done
   * @throws {TypeError} when `encode` refuses the envelope
   */
  add(envelope, limits, done) {
    const ack = `${this.#prefix}:${++this.#count}`;
    const text = encode({ ...envelope, ack, idempotency_key: ack });
    if (this.#entries.size >= MAX_ENTRIES || this.#size + text.length > MAX_CHARACTERS) {
      done({ code: 'queue_full', message: 'Too much waits to be sent; try again later.' });
      return;
    }
    /** @type {Entry} */
    const entry = { ...limits, ack, text, done, tries: 0 };
    this.#entries.set(ack, entry);
    this.#size += text.length;
    entry.timer = startTimer(limits.timeout, () => this.settle(ack, { code: 'timeout', message: 'operation has timed out' }));
    this.#sendPending();
  }

  /** There is a new connection: send all entries again. */
  resend() {
    for (const entry of this.#entries.values()) entry.sent = false;
    this.#sendPending();
  }

  #sendPending() {
    let count = 0;
    for (const entry of this.#entries.values()) {
      if (count++ === MAX_IN_FLIGHT) return;
      if (!entry.sent) this.#sendEntry(entry);
    }
  }

  /** @param {Entry} entry */
  #sendEntry(entry) {
    if (entry.tries > entry.retries) {
      this.settle(entry.ack, { code: 'given_up', message: 'It was sent again and again, and never answered.' });
    } else if (this.#send(entry.text)) {
      entry.sent = true;
      entry.tries += 1;
      clearTimeout(entry.ackTimer);
      entry.ackTimer = startTimer(entry.ackTimeout, () => this.#sendEntry(entry));
    }
  }

  /** The connection has ended for good: no entry will be answered. @param {Refusal} refusal */
  end(refusal) {
    // What the application adds while it is told belongs to the next connection.
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    this.#size = 0;
    for (const entry of entries) this.#finish(entry, refusal);
  }

  /** The server closed the connection because a message is too large: refuse the largest that was sent. */
  refuseLargest() {
    const sent = [...this.#entries.values()].filter(({ tries }) => tries > 0);
    const [largest] = sent.sort((a, b) => byteLength(b.text) - byteLength(a.text));
    this.settle(largest?.ack, { code: 'too_large', message: 'The server takes no message this large.' });
  }

  /**
   * The answer to an entry has come. An ack that is not in the outbox is ignored.
   *
   * @param {unknown} ack
   * @param {Refusal|null} error
   * @param {any} [data]
   */
  settle(ack, error, data) {
    const entry = this.#entries.get(/** @type {string} */ (ack));
    if (entry === undefined) return;
    this.#entries.delete(entry.ack);
    this.#size -= entry.text.length;
    this.#finish(entry, error, data);
    this.#sendPending();
  }

  /**
   * @param {Entry} entry
   * @param {Refusal|null} error
   * @param {any} [data]
   */
  #finish(entry, error, data) {
    clearTimeout(entry.ackTimer);
    clearTimeout(entry.timer);
    entry.done(error, data, entry.tries > 0);
  }
}

/** No timer for an infinite time. @param {number} milliseconds @param {() => void} act */
function startTimer(milliseconds, act) {
  return milliseconds < Infinity ? setTimeout(act, milliseconds) : undefined;
}

/**
 * @param {Refusal} refusal
 * @param {object} [data] of the error; the refusal when left out
 * @returns {RtpushError}
 */
export function errorOf(refusal, data = refusal) {
  return Object.assign(new Error(refusal.message), { code: refusal.code, data });
}
