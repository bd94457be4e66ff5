/**
 * Transport fallback and reconnection backoff: which transports to try, and how
 * long to wait before the next attempt.
 *
 * Rules that hold here:
 * - The client judges a transport by what it does, not by what the browser supports.
 * - An attempt tries the transports one after the other until one connects. The
 *   transport that connected last comes first. When it is refused, it gets two
 *   attempts without fallback: a server that restarts is no reason to leave
 *   WebSocket. When it times out, the client falls back at once: a proxy swallows it.
 * - The tab remembers the transport that connected until the network changes.
 */

/** @typedef {import('./transports.js').TransportName} TransportName */

const ATTEMPTS_WITHOUT_FALLBACK = 2;

/**
 * The delay before the next attempt: exponential, and with Socket.IO's jitter, so
 * that the clients of a server that restarts do not reconnect at the same moment.
 *
 * @param {number} attempt counted from 0
 * @param {{reconnectionDelay: number, reconnectionDelayMax: number, randomizationFactor: number}} options
 * @param {() => number} [random] gives a number from 0 to 1
 * @returns {number} milliseconds
 */
export function backoff(attempt, options, random = Math.random) {
  const delay = options.reconnectionDelay * 2 ** Math.min(attempt, 30);
  const jitter = 1 + (random() * 2 - 1) * options.randomizationFactor;
  return Math.min(delay, options.reconnectionDelayMax) * jitter;
}

export class Fallback {
  #transports;
  #storageKey;
  /** The transport that connected last. @type {string|null|void} */
  #worked;
  #attemptsLeft = 0;

  /**
   * @param {TransportName[]} transports best first
   * @param {string} storageKey under which sessionStorage keeps the transport that connected last
   */
  constructor(transports, storageKey) {
    this.#transports = transports;
    this.#storageKey = storageKey;
    this.#worked = stored(storageKey);
  }

  /** @returns {TransportName[]} the transports that the next attempt tries, in this order */
  order() {
    return [...this.#transports].sort((a, b) => Number(b === this.#worked) - Number(a === this.#worked));
  }

  /**
   * Whether the attempt ends with this transport, instead of falling back to the next one.
   *
   * @param {TransportName} name of the transport that has failed
   * @param {boolean} timedOut whether the server did not answer at all
   * @returns {boolean}
   */
  waitsFor(name, timedOut) {
    return name === this.#worked && !timedOut && this.#attemptsLeft-- > 0;
  }

  /** @param {TransportName} name of the transport that has just connected */
  connected(name) {
    this.#attemptsLeft = ATTEMPTS_WITHOUT_FALLBACK;
    this.#remember(name);
  }

  /** Forget the transport that connected last: on another network another one may work. */
  forget() {
    this.#remember('');
  }

  /** @param {string} name */
  #remember(name) {
    if (name !== this.#worked) stored(this.#storageKey, name);
    this.#worked = name;
  }
}

/**
 * Read or write sessionStorage. The browser may forbid it, or it may be full or
 * absent: then the tab remembers nothing, and all else works.
 *
 * @param {string} key
 * @param {string} [value] to write; to read when left out
 * @returns {string|null|void}
 */
function stored(key, value) {
  try {
    return value === undefined ? sessionStorage.getItem(key) : sessionStorage.setItem(key, value);
  } catch {
    return null;
  }
}
