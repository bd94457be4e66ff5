/**
 * Listeners by event, with the habits of Socket.IO's emitter.
 *
 * Rules that hold here:
 * - Events are kept in a Map: one that is named `__proto__` is only a name.
 * - Listeners are called in the order they came. One that throws is reported as
 *   any uncaught error is, and hinders none of the others.
 * - Who listens while an event goes round is decided when it starts.
 */

/** @typedef {(...args: any[]) => void} Listener */

export class Emitter {
  /** @type {Map<string, Listener[]>} */
  #listeners = new Map();

  /**
   * @param {string} event
   * @param {Listener} listener
   * @returns {this}
   */
  on(event, listener) {
    if (typeof listener !== 'function') throw new TypeError(`the listener of "${event}" is not a function`);
    this.#listeners.set(event, [...this.listeners(event), listener]);
    return this;
  }

  /**
   * @param {string} event
   * @param {Listener} listener
   * @returns {this}
   */
  once(event, listener) {
    /** @type {Listener & {once?: Listener}} */
    const one = (...args) => {
      this.off(event, one);
      listener(...args);
    };
    one.once = listener;
    return this.on(event, one);
  }

  /**
   * Take away one listener, all of an event, or all there are.
   *
   * @param {string} [event]
   * @param {Listener} [listener]
   * @returns {this}
   */
  off(event, listener) {
    if (event === undefined) {
      this.#listeners.clear();
    } else if (listener === undefined) {
      this.#listeners.delete(event);
    } else {
      this.#listeners.set(event, this.listeners(event).filter((one) => one !== listener && /** @type {any} */ (one).once !== listener));
    }
    return this;
  }

  /**
   * @param {string} [event]
   * @param {Listener} [listener]
   * @returns {this}
   */
  removeListener(event, listener) {
    return this.off(event, listener);
  }

  /** @param {string} [event] @returns {this} */
  removeAllListeners(event) {
    return this.off(event);
  }

  /**
   * @param {string} event
   * @returns {Listener[]}
   */
  listeners(event) {
    return this.#listeners.get(event) ?? [];
  }

  /** @param {string} event */
  hasListeners(event) {
    return this.listeners(event).length > 0;
  }

  /**
   * Call the listeners of an event.
   *
   * @param {string} event
   * @param {...any} args
   */
  fire(event, ...args) {
    this.listeners(event).forEach((listener) => call(listener, args));
  }
}

/**
 * @param {Listener} listener
 * @param {any[]} args
 */
export function call(listener, args) {
  try {
    listener(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
