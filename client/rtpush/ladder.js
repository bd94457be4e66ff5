/**
 * Which transports to try, and how long to wait before the next attempt.
 *
 * Rules that hold here:
 * - A transport is judged by what it does, not by what the browser supports.
 * - An attempt goes through the transports until one works, the one that worked
 *   last before the others. When that one is refused it gets two attempts to
 *   itself: a server that restarts is no reason to leave WebSocket. When it is
 *   not answered at all, something on the way swallows it.
 * - What worked is remembered until the network changes.
 */

/** @typedef {import('./wires.js').Kind} Kind */

const ALONE = 2;

/**
 * Exponential, and jittered as in Socket.IO, so that clients that lost the same
 * server do not come back as one wave.
 *
 * @param {number} attempt from 0
 * @param {{reconnectionDelay: number, reconnectionDelayMax: number, randomizationFactor: number}} options
 * @returns {number} milliseconds
 */
export function backoff(attempt, options, random = Math.random) {
  const delay = options.reconnectionDelay * 2 ** Math.min(attempt, 30);
  const jitter = 1 + (random() * 2 - 1) * options.randomizationFactor;
  return Math.min(delay, options.reconnectionDelayMax) * jitter;
}

export class Ladder {
  #alone = 0;
  #worked;

  /**
   * @param {Kind[]} kinds best first
   * @param {string} name under which the tab remembers what worked
   */
  constructor(kinds, name) {
    this.kinds = kinds;
    this.name = name;
    this.#worked = stored(name);
  }

  /** @returns {Kind[]} what an attempt tries, in this order */
  next() {
    const worked = (/** @type {Kind} */ kind) => kind === this.#worked;
    return [...this.kinds.filter(worked), ...this.kinds.filter((kind) => !worked(kind))];
  }

  /**
   * Whether to wait for the next attempt now that one transport has failed.
   *
   * @param {Kind} kind
   * @param {boolean} silent it was not answered
   */
  waitsFor(kind, silent) {
    if (kind !== this.#worked || silent) return false;
    this.#alone -= 1;
    return this.#alone >= 0;
  }

  /** @param {Kind} kind the one that has just connected */
  succeeded(kind) {
    this.#alone = ALONE;
    this.#remember(kind);
  }

  /** Another network: what worked on the last one says nothing. */
  forget() {
    this.#remember('');
  }

  /** @param {string} kind */
  #remember(kind) {
    if (kind !== this.#worked) stored(this.name, kind);
    this.#worked = kind;
  }
}

/**
 * Storage may be forbidden, full or absent. Then nothing is remembered, and
 * nothing else changes.
 *
 * @param {string} name
 * @param {string} [value]
 * @returns {string|null|void}
 */
function stored(name, value) {
  try {
    return value === undefined ? sessionStorage.getItem(name) : sessionStorage.setItem(name, value);
  } catch {
    return null;
  }
}
