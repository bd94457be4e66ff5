/**
 * Listeners of every event, of those that arrive and of those that are sent, with the
 * interface of Socket.IO's socket.
 */

import { Emitter, call } from './emitter.js';

/** @typedef {(event: string, ...args: any[]) => void} AnyListener */

/**
 * @template {import('./events.js').EventsMap} Events
 * @template {import('./events.js').EventsMap} Own
 * @extends {Emitter<Events, Own>}
 */
export class AnyEmitter extends Emitter {
  /** @type {AnyListener[]} */
  #incoming = [];
  /** @type {AnyListener[]} */
  #outgoing = [];

  /** @param {AnyListener} listener called with each event that arrives, its name first @returns {this} */
  onAny(listener) {
    this.#incoming = [...this.#incoming, listener];
    return this;
  }

  /** @param {AnyListener} listener as of `onAny`, before the others @returns {this} */
  prependAny(listener) {
    this.#incoming = [listener, ...this.#incoming];
    return this;
  }

  /** @param {AnyListener} [listener] all of them when left out @returns {this} */
  offAny(listener) {
    this.#incoming = without(this.#incoming, listener);
    return this;
  }

  /** @returns {AnyListener[]} */
  listenersAny() {
    return this.#incoming;
  }

  /** @param {AnyListener} listener called with each event that is emitted, its name first @returns {this} */
  onAnyOutgoing(listener) {
    this.#outgoing = [...this.#outgoing, listener];
    return this;
  }

  /** @param {AnyListener} listener as of `onAnyOutgoing`, before the others @returns {this} */
  prependAnyOutgoing(listener) {
    this.#outgoing = [listener, ...this.#outgoing];
    return this;
  }

  /** @param {AnyListener} [listener] all of them when left out @returns {this} */
  offAnyOutgoing(listener) {
    this.#outgoing = without(this.#outgoing, listener);
    return this;
  }

  /** @returns {AnyListener[]} */
  listenersAnyOutgoing() {
    return this.#outgoing;
  }

  /**
   * Call the listeners of an event that has arrived: those of every event first.
   *
   * @param {string} event
   * @param {any[]} args
   */
  fireIncoming(event, args) {
    this.#incoming.forEach((listener) => call(listener, [event, ...args]));
    this.fire(event, ...args);
  }

  /**
   * @param {string} event that is emitted
   * @param {any[]} args
   */
  fireOutgoing(event, args) {
    this.#outgoing.forEach((listener) => call(listener, [event, ...args]));
  }
}

/**
 * @param {AnyListener[]} listeners
 * @param {AnyListener} [listener]
 */
function without(listeners, listener) {
  return listeners.filter((one) => listener && one !== listener);
}
