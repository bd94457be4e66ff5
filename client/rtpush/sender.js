/**
 * What a socket sends: events, until the server answers them, and replies to the
 * server's own events.
 *
 * Rules that hold here:
 * - No refusal is silent: where the application gave no callback, the socket fires
 *   `error`.
 * - A reply that is made without a connection waits for the next one.
 */

import { call } from './emitter.js';
import { checkName, encode } from './encoding.js';
import { Outbox, errorOf } from './outbox.js';

/** @typedef {import('./emitter.js').Listener} Listener */
/** @typedef {import('./outbox.js').Refusal} Refusal */
/** @typedef {import('./socket.js').Socket} Socket */

/** For the next emit; `timeout` in milliseconds.
 * @typedef {{timeout?: number, volatile?: boolean, retain?: boolean, room?: string, key?: string}} Flags */

/** Events that only the socket itself fires; one with such a name from the server is ignored. */
export const LOCAL = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener',
  'reconnect', 'reconnect_attempt', 'reconnect_error', 'reconnect_failed']);
// Only the server sends these, with a meaning of their own.
const RESERVED = new Set([...LOCAL, 'active_tasks', 'state', 'presence', 'resync']);
// Only the server sends these without an `id`: a volatile one could not be told from its own.
const LOGGED_ONLY = new Set(['error', 'pong', 'heartbeat']);
const MAX_REPLIES = 1000;
/** Why events are not answered after `disconnect`. @type {Refusal} */
export const LEFT = { code: 'disconnected', message: 'The client disconnected before this was answered.' };

export class Sender {
  #socket;
  #send;
  outbox = new Outbox((text) => this.#transmit(text));
  /** Replies that wait for a connection. @type {string[]} */
  #replies = [];

  /**
   * @param {Socket} socket
   * @param {(texts: string[]) => boolean} send whether there was a connection to send on
   */
  constructor(socket, send) {
    this.#socket = socket;
    this.#send = send;
  }

  /**
   * @param {string} event
   * @param {any[]} args
   * @param {Flags} flags
   * @throws {Error} when the name is reserved
   * @throws {TypeError} when the server would refuse the names or the arguments
   */
  emit(event, args, { timeout, volatile, retain, ...to }) {
    for (const [kind, name] of Object.entries({ event, ...to })) checkName(kind, name);
    if (RESERVED.has(event) || (volatile && LOGGED_ONLY.has(event))) throw new Error(`"${event}" is a reserved event name`);
    const callback = typeof args.at(-1) === 'function' ? args.pop() : null;
    const envelope = { event, ...fieldsOf(args), ...to, volatile, retain };
    // Without a connection a volatile event is dropped, as in Socket.IO.
    if (!volatile || (callback && this.#socket.connected)) this.#add(envelope, callback, timeout);
    else this.#transmit(encode(envelope));
  }

  /**
   * @param {{volatile?: boolean}} envelope
   * @param {Listener|null} callback
   * @param {number|undefined} timeout milliseconds
   */
  #add(envelope, callback, timeout) {
    const { retries, ackTimeout, errorFirst } = this.#socket.io.opts;
    const limits = { retries: envelope.volatile ? 0 : retries, ackTimeout, timeout: timeout ?? Infinity };
    this.outbox.add(envelope, limits, (error, data, sent) => {
      if (callback === null) {
        // `emit(); disconnect()` is usual: the server has it, and no news is good news.
        if (error && !(error === LEFT && sent)) this.report(error);
      } else if (timeout === undefined && !errorFirst) {
        call(callback, error ? [{ error }] : data);
      } else {
        call(callback, error ? [errorOf(error)] : [null, ...data]);
      }
    });
  }

  /** @param {string} text @returns {boolean} whether there was a connection to send on */
  #transmit(text) {
    return this.#send([text]);
  }

  /**
   * The function by which a handler replies to an event of the server.
   *
   * @param {unknown} ack
   * @returns {Listener}
   */
  replyTo(ack) {
    let done = false;
    return (...args) => {
      if (done) return;
      const text = encode({ ack, ...fieldsOf(args) });
      done = true;
      if (!this.#transmit(text) && this.#replies.length < MAX_REPLIES) this.#replies.push(text);
    };
  }

  /** There is a new connection: send what was not answered, and the replies that wait. */
  resend() {
    this.outbox.resend();
    this.#send(this.#replies.splice(0));
  }

  /**
   * The server has answered an event.
   *
   * @param {import('./transports.js').Envelope} reply
   */
  settle(reply) {
    const { ack, error } = reply;
    // A server that stops: the outbox sends the event again, to the next server.
    if (error?.code !== 'going_away') this.outbox.settle(ack, error ?? null, argumentsOf(reply));
  }

  /**
   * The connection has ended for good: no event will be answered.
   *
   * @param {Refusal} refusal
   */
  end(refusal) {
    this.#replies = [];
    this.outbox.end(refusal);
  }

  /** Tell the application of a refusal that no callback gets. @param {Refusal} error */
  report(error) {
    if (this.#socket.hasListeners('error')) this.#socket.fire('error', error);
    else console.warn(`rtpush: ${error.code}: ${error.message}`);
  }
}

/** The arguments that an envelope has for a handler or a callback. @param {import('./transports.js').Envelope} envelope @returns {any[]} */
export function argumentsOf({ args, data }) {
  return args === true && Array.isArray(data) ? data : [data];
}

/** Several arguments as fields of an envelope; undefined is null, as JSON has it. @param {any[]} args */
function fieldsOf(args) {
  return args.length > 1 ? { data: args, args: true } : { data: args[0] ?? null };
}
