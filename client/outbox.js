/**
 * What this page has said and the server has not yet answered.
 *
 * Rules that hold here:
 * - An entry stays until its reply arrives. After every reconnect all entries
 *   are sent again, in order; the idempotency key makes the server publish each
 *   one once, so nothing is lost and nothing doubled.
 * - The box is bounded. Whoever emits into a full box is told so at once.
 * - An entry that several connections died of is given up: it may be the cause.
 * - The end of every entry is reported to its `onReply`, once.
 */

import { newId } from './ids.js';

const CAPACITY = 500;
const MOST_TRIES = 6;

/** @typedef {(error: {code: string, message: string}|null, data?: unknown) => void} OnReply */

export class Outbox {
  #entries = new Map();
  #nextAck = 1;

  /**
   * @param {object} envelope  without ack and idempotency key
   * @param {OnReply} onReply
   * @returns {object|null} the envelope to send, or null when the box is full
   */
  add(envelope, onReply) {
    if (this.#entries.size >= CAPACITY) {
      onReply({ code: 'queue_full', message: 'Too many unsent events' });
      return null;
    }
    const ack = this.#nextAck++;
    const full = { ...envelope, ack, idempotency_key: newId() };
    this.#entries.set(ack, { envelope: full, onReply, tries: 0 });
    return full;
  }

  /** @returns {object[]} everything unanswered, in order, to be sent on a new connection */
  takeAll() {
    for (const [ack, entry] of this.#entries) {
      entry.tries += 1;
      if (entry.tries > MOST_TRIES) this.settle({ ack, error: { code: 'given_up', message: 'No answer' } });
    }
    return [...this.#entries.values()].map((entry) => entry.envelope);
  }

  /** @param {{ack: unknown, data?: unknown, error?: object}} reply */
  settle(reply) {
    const entry = this.#entries.get(reply.ack);
    if (entry === undefined) return;
    this.#entries.delete(reply.ack);
    entry.onReply(reply.error ?? null, reply.data);
  }
}
