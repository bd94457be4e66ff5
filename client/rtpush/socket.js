/**
 * What `io()` returns: a socket with the habits of Socket.IO's.
 *
 * Rules that hold here:
 * - What is emitted is said until it is answered, and takes effect once. Nothing
 *   is dropped silently: who gave no callback learns of a refusal by `error`.
 * - Names that only this side fires can't be forged from outside: an event from
 *   the server that bears one goes nowhere.
 * - Events reach handlers once and in order; so do answers.
 */

import { Connection } from './connection.js';
import { Emitter, call } from './emitter.js';
import { watched } from './life.js';
import { Manager } from './manager.js';
import { readOptions, tokenOf } from './options.js';
import { Outbox, encode, errorOf } from './outbox.js';
import { openRooms } from './wires.js';

/** @typedef {import('./emitter.js').Listener} Handler */
/** @typedef {import('./wires.js').Envelope} Envelope */
/** @typedef {import('./wires.js').End} End */
/** @typedef {import('./connection.js').Greeting} Greeting */
/** @typedef {import('./options.js').UserOptions} UserOptions */
/** @typedef {import('./options.js').Options} Options */

const LOCAL = new Set(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener',
  'reconnect', 'reconnect_attempt', 'reconnect_error', 'reconnect_failed']);
// Said by the server alone, and with a meaning of their own.
const RESERVED = new Set([...LOCAL, 'active_tasks', 'resync', 'error', 'pong', 'heartbeat', 'presence']);
const MOST_ANSWERS = 1000;

export class Socket extends Emitter {
  connected = false;
  /** The session's id, which is a secret. @type {string|undefined} */
  id;
  /** Whether the last connection took up where the one before it ended. */
  recovered = false;
  /** Of the connection that stands. @type {'websocket'|'sse'|'poll'|null} */
  transport = null;
  /** Of the last ping, in milliseconds. @type {number|null} */
  latency = null;
  /** @type {Connection|import('./shared.js').Shared} */
  #connection;
  /** Whether somebody has asked for a connection and nobody for its end. */
  #wanted = false;
  /** Settled when the connection is the one that all tabs have. @type {Promise<void>|null} */
  #shared = null;
  #outbox = new Outbox((text) => this.#transmit(text));
  /** Answers to what the server asked, made while there was no connection. @type {string[]} */
  #answers = [];
  /** @type {import('./wires.js').Rooms} */
  #rooms = new Map();
  /** Of the emit that comes next. @type {{timeout?: number, volatile?: boolean, room?: string, key?: string}} */
  #flags = {};
  /** @type {Handler[]} */
  #any = [];
  /** @type {Set<(envelope: Envelope) => void>} */
  #envelopes = new Set();

  /**
   * @param {string} address
   * @param {UserOptions} options
   */
  constructor(address, options) {
    super();
    /** Sent with every connection; may be replaced at any time. */
    this.auth = options.auth;
    this.#connection = this.#make(Connection, readOptions(address, options));
    this.io = new Manager(this.#connection.options, this);
    if (this.io.opts.autoConnect) this.connect();
  }

  /**
   * @template Made
   * @param {new (options: Options, rooms: import('./wires.js').Rooms, askToken: () => Promise<string|null>, listener: import('./connection.js').Listener) => Made} kind
   * @param {Options} options
   */
  #make(kind, options) {
    return new kind(options, this.#rooms, () => tokenOf(this.auth, options.timeout), {
      up: (greeting, transport, attempts) => this.#up(greeting, transport, attempts),
      down: (reason, end) => this.#down(reason, end),
      attempt: (attempt) => this.#tell('reconnect_attempt', attempt),
      error: (end, attempt) => this.#failed(end, attempt),
      failed: () => this.#tell('reconnect_failed'),
      envelope: (envelope) => this.#receive(envelope),
      reply: ({ ack, error, data }) => this.#settle(ack, error, data),
      latency: (milliseconds) => {
        this.latency = milliseconds;
        this.io.fire('latency', milliseconds);
      },
    });
  }

  get disconnected() {
    return !this.connected;
  }

  /** Whether it is connected or will be by itself. */
  get active() {
    return this.#connection.active;
  }

  /** Take the connection that all tabs have; it is code that few need. */
  async #share() {
    try {
      const { Shared } = await import('./shared.js');
      if (Shared.possible) this.#connection = this.#make(Shared, this.io.opts);
    } catch (error) {
      console.warn('rtpush: not shared:', error);
    }
  }

  #start() {
    if (!this.#wanted || this.active) return;
    watched.add(this.#connection);
    this.#connection.start();
  }

  /** Where it is in the server's log: what it came back with. */
  get position() {
    return this.#connection.cursor.last;
  }

  /** The rooms that it has entered without a token of their own. */
  get rooms() {
    return openRooms(this.#rooms);
  }

  connect() {
    this.#wanted = true;
    if (!this.io.opts.shared) this.#start();
    else (this.#shared ??= this.#share()).then(() => this.#start());
    return this;
  }

  open() {
    return this.connect();
  }

  disconnect() {
    this.#wanted = false;
    watched.delete(this.#connection);
    this.#connection.stop();
    if (this.connected) this.#down('io client disconnect', { code: 1000, message: '' });
    return this;
  }

  close() {
    return this.disconnect();
  }

  // --------------------------------------------------------------- sending

  /**
   * Send an event. A function as the last argument is called with the answer;
   * with `{error: {code, message}}` when it was refused.
   *
   * @param {string} event
   * @param {...any} args one value of JSON; several travel as an array
   * @returns {this}
   */
  emit(event, ...args) {
    const { timeout, volatile, ...to } = this.#takeFlags();
    if (RESERVED.has(event)) throw new Error(`"${event}" is a reserved event name`);
    const callback = typeof args.at(-1) === 'function' ? args.pop() : null;
    const envelope = { event, data: args.length > 1 ? args : args[0], ...to, volatile };
    // Without a connection a volatile event is gone, as in Socket.IO: that is what the word says.
    if (!volatile || (callback && this.connected)) this.#say(envelope, callback, timeout);
    else this.#transmit(encode(envelope));
    return this;
  }

  /**
   * @param {string} event
   * @param {...any} args
   * @returns {Promise<any>} the answer; rejected with an RtpushError when it was refused
   */
  emitWithAck(event, ...args) {
    return new Promise((resolve, reject) => {
      // With a flag of a timeout the callback tells errors apart.
      this.#flags.timeout ??= Infinity;
      this.emit(event, ...args, (/** @type {Error|null} */ error, /** @type {any} */ data) => (error ? reject(error) : resolve(data)));
    });
  }

  /**
   * @param {{volatile?: boolean}} envelope
   * @param {Handler|null} callback
   * @param {number|undefined} timeout
   */
  #say(envelope, callback, timeout) {
    const { retries, ackTimeout } = this.io.opts;
    const limits = { retries: envelope.volatile ? 0 : retries, ackTimeout, timeout: timeout ?? Infinity };
    this.#outbox.say(envelope, limits, (error, data) => {
      if (callback === null) {
        if (error) this.#complain(error);
      } else if (timeout === undefined) {
        call(callback, [error ? { error } : data]);
      } else {
        call(callback, error ? [errorOf(error)] : [null, data]);
      }
    });
  }

  /** @param {string} text @returns {boolean} whether there is a connection to say it on */
  #transmit(text) {
    return this.connected && this.#connection.send([text]);
  }

  /**
   * @param {unknown} ack
   * @param {any} error
   * @param {any} data
   */
  #settle(ack, error, data) {
    if (error?.code === 'going_away') return; // it is said again to the next server
    this.#outbox.settle(ack, error ?? null, data);
  }

  /** @param {import('./outbox.js').Refusal} error */
  #complain(error) {
    if (this.hasListeners('error')) this.fire('error', error);
    else console.warn(`rtpush: ${error.code}: ${error.message}`);
  }

  /** @param {...any} args */
  send(...args) {
    return this.emit('message', ...args);
  }

  #takeFlags() {
    const flags = this.#flags;
    this.#flags = {};
    return flags;
  }

  /** @param {number} milliseconds after which the callback of the next emit gets an error */
  timeout(milliseconds) {
    this.#flags.timeout = milliseconds;
    return this;
  }

  /** The next emit is for those who are connected now; it is not logged. */
  get volatile() {
    this.#flags.volatile = true;
    return this;
  }

  /** Every frame is compressed where that pays; nothing to choose. */
  compress() {
    return this;
  }

  /** @param {string} room that the next emit goes to */
  to(room) {
    this.#flags.room = room;
    return this;
  }

  /** @param {string} key a later event of the same room, name and key supersedes the next one */
  keyed(key) {
    this.#flags.key = key;
    return this;
  }

  // ----------------------------------------------------------------- rooms

  /**
   * Enter a room; stay in it over every reconnect.
   *
   * @param {string} room
   * @param {string} [token] a right to this room alone
   * @returns {Promise<void>} rejected with an RtpushError when it is refused
   */
  async join(room, token) {
    this.#rooms.set(room, token);
    this.#connection.moved();
    try {
      await this.emitWithAck('join', { room, token });
    } catch (error) {
      this.#exit(room);
      throw error;
    }
  }

  /**
   * @param {string} room
   * @returns {Promise<void>}
   */
  async leave(room) {
    if (!this.#exit(room)) await this.emitWithAck('leave', { room });
  }

  /** @param {string} room */
  #exit(room) {
    this.#rooms.delete(room);
    this.#connection.cursor.leave(room);
    return this.#connection.moved();
  }

  // ------------------------------------------------------------- receiving

  /** @param {Envelope} envelope */
  #receive(envelope) {
    const { event, data, ack } = envelope;
    if (typeof event !== 'string' || LOCAL.has(event)) return;
    this.#envelopes.forEach((listener) => call(listener, [envelope]));
    const args = ack === undefined ? [data] : [data, this.#answerTo(ack)];
    this.#any.forEach((listener) => call(listener, [event, ...args]));
    this.fire(event, ...args);
  }

  /**
   * The function that a handler answers the server with.
   *
   * @param {unknown} ack
   */
  #answerTo(ack) {
    let done = false;
    return (/** @type {any[]} */ ...args) => {
      if (done) return;
      done = true;
      const text = encode({ ack, data: args.length > 1 ? args : args[0] ?? null });
      if (!this.#transmit(text) && this.#answers.length < MOST_ANSWERS) this.#answers.push(text);
    };
  }

  /** @param {Handler} listener called with every event's name and data */
  onAny(listener) {
    this.#any.push(listener);
    return this;
  }

  /** @param {Handler} [listener] */
  offAny(listener) {
    this.#any = this.#any.filter((one) => listener && one !== listener);
    return this;
  }

  /**
   * See whole envelopes, with `id`, `room` and `key`, before their handlers do.
   *
   * @param {(envelope: Envelope) => void} listener
   * @returns {() => void} stops it
   */
  onEnvelope(listener) {
    this.#envelopes.add(listener);
    return () => {
      this.#envelopes.delete(listener);
    };
  }

  // ------------------------------------------------------------ connection

  /**
   * @param {Greeting} greeting
   * @param {'websocket'|'sse'|'poll'} transport
   * @param {number} attempts
   */
  #up({ sid, recovered }, transport, attempts) {
    const before = this.connected;
    const another = this.id !== undefined && this.id !== sid;
    Object.assign(this, { connected: true, id: sid, recovered, transport });
    this.#outbox.flush();
    this.#connection.send(this.#answers.splice(0));
    if (another) this.#rejoin();
    if (before) return;
    this.fire('connect');
    if (attempts > 0) this.#tell('reconnect', attempts);
  }

  #rejoin() {
    for (const [room, token] of this.#rooms) {
      if (token !== undefined) this.join(room, token).catch((error) => this.#complain(error));
    }
  }

  /**
   * @param {string} reason
   * @param {End} end
   */
  #down(reason, { code, message, retryAfter }) {
    if (code === 1009) this.#outbox.blameLargest();
    Object.assign(this, { connected: false, transport: null, latency: null });
    this.fire('disconnect', reason, { description: message, code, retry_after: retryAfter });
  }

  /**
   * @param {End} end
   * @param {number} attempt
   */
  #failed({ code, message }, attempt) {
    const error = errorOf({ code: code === 4401 ? 'not_authenticated' : 'connect_error', message }, { code });
    this.fire('connect_error', error);
    if (attempt > 0) this.#tell('reconnect_error', error);
  }

  /**
   * On the manager, where Socket.IO 4 has it, and on the socket, where 2 had it.
   *
   * @param {string} event
   * @param {...any} args
   */
  #tell(event, ...args) {
    this.io.fire(event, ...args);
    this.fire(event, ...args);
  }
}
