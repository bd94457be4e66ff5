/**
 * The sending half of a socket, with the interface of Socket.IO's: what holds for the next emit,
 * and the emit.
 */

import { AnyEmitter } from './any_emitter.js';

/**
 * @template {import('./events.js').EventsMap} ListenEvents
 * @template {import('./events.js').EventsMap} EmitEvents
 * @extends {AnyEmitter<ListenEvents, import('./events.js').SocketEvents>}
 */
export class SendingEmitter extends AnyEmitter {
  /** For the next emit. @type {import('./sender.js').Flags} */
  #flags = {};

  /**
   * Send an event. A function as the last argument is called with the server's
   * answer, or with `{error: {code, message}}` when the server refuses.
   *
   * @template {import('./events.js').EventNames<EmitEvents>} Name
   * @param {Name} event
   * @param {import('./events.js').ArgumentsOf<EmitEvents, Name>} args values of JSON
   * @returns {this}
   * @throws {Error} when the name is reserved
   * @throws {TypeError} when JSON cannot represent the arguments
   */
  emit(event, ...args) {
    this.#emit(event, args);
    return this;
  }

  /**
   * @param {string} event
   * @param {any[]} args
   */
  #emit(event, args) {
    const flags = this.#flags;
    this.#flags = {};
    this.fireOutgoing(event, typeof args.at(-1) === 'function' ? args.slice(0, -1) : args);
    this.transmit(event, args, flags);
  }

  /**
   * Send an event, and wait for the server's answer.
   *
   * @template {import('./events.js').EventNames<EmitEvents>} Name
   * @param {Name} event
   * @param {import('./events.js').WithoutCallback<import('./events.js').ArgumentsOf<EmitEvents, Name>>} args as in `emit`
   * @returns {Promise<import('./events.js').AnswerOf<import('./events.js').ArgumentsOf<EmitEvents, Name>>>} the answer; rejected with an RtpushError when the server refuses
   */
  emitWithAck(event, ...args) {
    return this.ask(event, ...args);
  }

  /**
   * `emitWithAck` of an event that may be the protocol's own.
   *
   * @protected
   * @param {string} event
   * @param {...any} args
   * @returns {Promise<any>}
   */
  ask(event, ...args) {
    return new Promise((resolve, reject) => {
      // With a timeout, the callback's first argument is the error.
      this.#flags.timeout ??= Infinity;
      this.#emit(event, [...args, (/** @type {Error|null} */ error, /** @type {any} */ data) => (error ? reject(error) : resolve(data))]);
    });
  }

  /**
   * Send the event `message`.
   *
   * @param {...any} args as in `emit`
   * @returns {this}
   */
  send(...args) {
    this.#emit('message', args);
    return this;
  }

  /**
   * Give the next emit a time limit; its callback is then called with `(error, answer)`.
   *
   * @param {number} milliseconds
   * @returns {import('./socket.js').Socket<ListenEvents, import('./events.js').WithErrors<EmitEvents>>} this socket
   */
  timeout(milliseconds) {
    this.#flags.timeout = milliseconds;
    return /** @type {any} */ (this);
  }

  /** The next emit goes to the clients that are connected now; the server does not log it. */
  get volatile() {
    this.#flags.volatile = true;
    return this;
  }

  /** Does nothing: the server compresses every frame where that pays. @returns {this} */
  compress() {
    return this;
  }

  /** @param {string} room that the next emit goes to @returns {this} */
  to(room) {
    this.#flags.room = room;
    return this;
  }

  /** @param {string} key of the next emit: a later event of the same room, name and key supersedes it @returns {this} */
  keyed(key) {
    this.#flags.key = key;
    return this;
  }

  /**
   * The next emit is kept for clients that come later, until another with the same room, name and
   * key takes its place; null as its data removes it.
   *
   * @param {string} key
   * @returns {this}
   */
  retain(key) {
    this.#flags.retain = true;
    return this.keyed(key);
  }

  /**
   * Send what is emitted.
   *
   * @protected
   * @param {string} _event
   * @param {any[]} _args
   * @param {import('./sender.js').Flags} _flags
   */
  transmit(_event, _args, _flags) {
    throw new Error('the socket sends');
  }
}
