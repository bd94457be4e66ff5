/**
 * Listeners by event, with the interface of Socket.IO's emitter.
 *
 * Rules that hold here:
 * - A Map holds the events: `__proto__` is a name like any other.
 * - The emitter calls listeners in the order in which they were added. When one
 *   throws, the browser reports it as an uncaught error, and the others are called.
 * - A listener that is added or removed while an event is fired counts from the next one.
 */

/** @typedef {(...args: any[]) => void} Listener */

/**
 * @template {import('./events.js').EventsMap} [Events=import('./events.js').DefaultEventsMap]
 * @template {import('./events.js').EventsMap} [Own={}]
 */
export class Emitter {
  /** @type {Map<string, Listener[]>} */
  #listeners = new Map();

  /**
   * Call a function on each event of a name.
   *
   * @template {import('./events.js').EventNames<Events> | import('./events.js').EventNames<Own>} Name
   * @param {Name} event
   * @param {import('./events.js').ListenerOf<Events, Own, Name>} listener
   * @returns {this}
   * @throws {TypeError} when the listener is not a function
   */
  on(event, listener) {
    if (typeof listener !== 'function') throw new TypeError(`the listener of "${event}" is not a function`);
    this.#listeners.set(event, [...this.listeners(event), listener]);
    return this;
  }

  /**
   * Call a function on the next event of a name only.
   *
   * @template {import('./events.js').EventNames<Events> | import('./events.js').EventNames<Own>} Name
   * @param {Name} event
   * @param {import('./events.js').ListenerOf<Events, Own, Name>} listener
   * @returns {this}
   */
  once(event, listener) {
    /** @type {Listener & {once?: Listener}} */
    const one = (...args) => {
      this.off(event, one);
      listener(...args);
    };
    one.once = listener;
    return this.on(event, /** @type {any} */ (one));
  }

  /**
   * Remove one listener, all of an event, or all there are.
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

  /** @param {string} event @returns {boolean} */
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
 * Call a listener. What it throws is reported as an uncaught error, later.
 *
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
