/**
 * Which transport to try next, and how long to wait before it.
 *
 * Rules that hold here:
 * - A transport is judged by what it does, not by what the browser supports.
 * - One that has worked gets a second try before the next one's turn: a server
 *   that restarts is no reason to leave WebSocket.
 * - The first step to another transport costs no wait; going round again does.
 */

const WAIT_BASE = 500;
const WAIT_MOST = 15_000;
const TRIES_OF_PROVEN = 2;

/**
 * Full jitter: clients that lost the same server do not come back as one wave.
 *
 * @param {number} round
 * @param {() => number} random
 * @returns {number} milliseconds
 */
export function backoff(round, random = Math.random) {
  return random() * Math.min(WAIT_MOST, WAIT_BASE * 2 ** Math.min(round, 10));
}

export class Ladder {
  #kinds;
  #rung;
  #proven = new Set();
  #failures = 0;
  #steps = 0;
  #round = 0;

  /**
   * @param {string[]} kinds       best first
   * @param {string|null} remembered  the one that worked when this tab was last here
   */
  constructor(kinds, remembered = null) {
    this.#kinds = kinds;
    this.#rung = Math.max(0, kinds.indexOf(remembered));
  }

  /** @returns {string} the transport to try now */
  get kind() {
    return this.#kinds[this.#rung];
  }

  /** @param {string} kind */
  hasWorked(kind) {
    return this.#proven.has(kind);
  }

  /** @param {string} kind  the transport that has just connected */
  succeeded(kind) {
    this.#rung = this.#kinds.indexOf(kind);
    this.#proven.add(kind);
    this.#failures = this.#steps = this.#round = 0;
  }

  /**
   * The current transport failed to connect; `kind` is then the next to try.
   *
   * @param {() => number} random
   * @returns {number} milliseconds to wait before it
   */
  failed(random = Math.random) {
    this.#failures += 1;
    const patience = this.#proven.has(this.kind) ? TRIES_OF_PROVEN : 1;
    if (this.#failures < patience) return backoff(this.#round++, random);
    this.#failures = 0;
    this.#rung = (this.#rung + 1) % this.#kinds.length;
    this.#steps = (this.#steps + 1) % this.#kinds.length;
    return this.#steps === 0 ? backoff(this.#round++, random) : 0;
  }
}
