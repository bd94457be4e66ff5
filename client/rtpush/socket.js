/**
 * What `io()` returns: a socket with the interface of Socket.IO's.
 *
 * Rules that hold here:
 * - The socket sends an event until the server answers, and it takes effect once.
 * - Nobody outside can forge the events that only the socket fires: it ignores an
 *   event of the server with such a name.
 * - Events reach handlers once and in order; so do answers.
 */

import { Connection } from './connection.js';
import { credentialsOf } from './credentials.js';
import { call } from './emitter.js';
import { roomsWithoutToken } from './endpoint.js';
import { connections } from './lifecycle.js';
import { Manager } from './manager.js';
import { readOptions } from './options.js';
import { errorOf } from './outbox.js';
import { Presence } from './presence.js';
import { RetainedValues } from './retained.js';
import { LEFT, LOCAL, Sender, argumentsOf } from './sender.js';
import { SendingEmitter } from './sending.js';

/** @typedef {import('./endpoint.js').Rooms} Rooms */
/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {import('./transports.js').CloseDetails} CloseDetails */
/** @typedef {import('./transports.js').TransportName} TransportName */
/** @typedef {import('./connection.js').Session} Session */
/** @typedef {import('./options.js').UserOptions} UserOptions */
/** @typedef {import('./options.js').Options} Options */

/**
 * @template {import('./events.js').EventsMap} [ListenEvents=import('./events.js').DefaultEventsMap]
 * @template {import('./events.js').EventsMap} [EmitEvents=ListenEvents]
 * @extends {SendingEmitter<ListenEvents, EmitEvents>}
 */
export class Socket extends SendingEmitter {
  connected = false;
  /** The session's id, which is a secret. @type {string|undefined} */
  id;
  /** Whether the last connection resumed where the one before it ended. */
  recovered = false;
  /** The active transport's name; null without a connection. @type {TransportName|null} */
  transport = null;
  /** The round trip of the last ping in milliseconds; null until one is answered. @type {number|null} */
  latency = null;
  /** @type {Connection|import('./shared.js').SharedConnection} */
  #connection;
  /** Whether the application wants a connection: it called `connect`, and not `disconnect` since. */
  #wanted = false;
  /** Settled when the module for shared connections is loaded. @type {Promise<void>|null} */
  #shared = null;
  #sender = new Sender(this, (texts) => this.#connection.send(texts));
  /** @type {Rooms} */
  #rooms = new Map();
  /** Rooms whose `join` is not answered yet. @type {Set<string>} */
  #joining = new Set();
  #retained = new RetainedValues();
  /** What the client says of itself in rooms where it is present. */
  #present = new Map();
  /** @type {Set<(envelope: Envelope) => void>} */
  #envelopeHandlers = new Set();

  /**
   * @param {string} address
   * @param {UserOptions} options
   */
  constructor(address, options) {
    super();
    /** What the server is told of the client at each connection, or what gives it; may be replaced at any time. */
    this.auth = options.auth;
    const opts = readOptions(address, options);
    this.#connection = this.#make(Connection, opts);
    this.io = new Manager(opts, this);
    if (opts.autoConnect) this.connect();
  }

  /**
   * @template Made
   * @param {new (options: Options, rooms: Rooms, getCredentials: () => Promise<import('./credentials.js').Credentials>, listener: import('./connection.js').Listener) => Made} kind
   * @param {Options} options
   */
  #make(kind, options) {
    return new kind(options, this.#rooms, async () => ({ ...await credentialsOf(this.auth, options.timeout), extra: options.extraHeaders }), {
      connected: (session, transport, attempts) => this.#onConnected(session, transport, attempts),
      disconnected: (reason, details) => this.#onDisconnected(reason, details),
      attempt: (attempt) => this.#fireOnBoth('reconnect_attempt', attempt),
      error: (details, attempt) => this.#onError(details, attempt),
      failed: () => this.#onFailed(),
      suspended: () => this.#sender.outbox.resend(),
      replaced: (reconnecting) => this.#onReplaced(reconnecting),
      envelope: (envelope) => this.#onEnvelope(envelope),
      reply: (envelope) => this.#sender.settle(envelope),
      latency: (milliseconds) => {
        this.latency = milliseconds;
        this.io.fire('latency', milliseconds);
      },
    });
  }

  get disconnected() {
    return !this.connected;
  }

  /** Whether it is connected or will reconnect by itself. */
  get active() {
    return this.#connection.active;
  }

  /** The socket's position in the server's log, from which it resumes. */
  get position() {
    return this.#connection.cursor.last;
  }

  /** The rooms that it has joined without a token of their own. */
  get rooms() {
    return roomsWithoutToken(this.#rooms);
  }

  // ------------------------------------------------------------ connecting

  /** Connect, unless there is a connection. @returns {this} */
  connect() {
    this.#wanted = true;
    if (!this.io.opts.shared) this.#start();
    else (this.#shared ??= this.#share()).then(() => this.#start());
    return this;
  }

  /** @returns {this} */
  open() {
    return this.connect();
  }

  /** Use the connection that all tabs share. Few pages do, so the code is loaded when it is needed. */
  async #share() {
    try {
      const { SharedConnection } = await import('./shared.js');
      if (await SharedConnection.supported()) this.#connection = this.#make(SharedConnection, this.io.opts);
    } catch (error) {
      console.warn('rtpush: not shared:', error);
    }
  }

  #start() {
    if (!this.#wanted || this.active) return;
    connections.add(this.#connection);
    this.#connection.start();
  }

  /** Disconnect, until `connect` is called. @returns {this} */
  disconnect() {
    this.#wanted = false;
    connections.delete(this.#connection);
    this.#connection.stop();
    if (this.connected) this.#onDisconnected('io client disconnect', { code: 1000, message: '' });
    else this.#sender.end(LEFT);
    return this;
  }

  /** @returns {this} */
  close() {
    return this.disconnect();
  }

  /**
   * @protected
   * @param {string} event
   * @param {any[]} args
   * @param {import('./sender.js').Flags} flags
   */
  transmit(event, args, flags) {
    this.#sender.emit(event, args, flags);
  }

  // ----------------------------------------------------------------- rooms

  /**
   * Join a room, and join it again after every reconnect.
   *
   * @param {string} room
   * @param {{ token?: string, rewind?: number | string, presence?: object }} [options] `token` is a
   * right to this room alone; `rewind` asks for what happened there before: so many events, "10m", or
   * since a position; `presence` is what others in the room are to know of this client
   * @returns {Promise<void>} rejected with an RtpushError when the server refuses
   */
  async join(room, { token, rewind, presence } = {}) {
    this.#rooms.set(room, token);
    if (presence) this.#present.set(room, presence);
    this.#joining.add(room);
    this.#connection.setRooms();
    try {
      await this.ask('join', { room, token, rewind, presence });
    } catch (error) {
      this.#forgetRoom(room);
      throw error;
    } finally {
      this.#joining.delete(room);
    }
  }

  /**
   * Leave a room.
   *
   * @param {string} room
   * @returns {Promise<void>} rejected with an RtpushError when the server refuses
   */
  async leave(room) {
    if (!this.#forgetRoom(room)) await this.ask('leave', { room });
  }

  /** @param {string} room @returns {boolean} whether the connection tells the server */
  #forgetRoom(room) {
    this.#rooms.delete(room);
    this.#present.delete(room);
    this.#connection.cursor.leave(room);
    this.#retained.leave(room);
    return this.#connection.setRooms();
  }

  // ------------------------------------------------------------- receiving

  /**
   * The retained events of a name, as the client knows them now: their data by key. Each also
   * reaches the event's handlers, null for one that is removed.
   *
   * @param {string} event
   * @param {string} [room] that the client is in; without one, those that are for everybody
   * @returns {Map<string, any>}
   */
  retained(event, room) {
    return this.#retained.of(event, room);
  }

  /**
   * Who is present in a room that the client is in: `members`, and the events `join`, `change` and
   * `leave` with a member each.
   *
   * @param {string} room
   * @param {{by?: 'id'|'subject'}} [options] by subject, the tabs of one person count as one
   */
  presence(room, options) {
    return new Presence(this, room, options?.by);
  }

  /** @param {Envelope} envelope */
  #onEnvelope(envelope) {
    this.#retained.take(envelope).forEach((one) => this.#deliver(one));
  }

  /** @param {Envelope} envelope */
  #deliver(envelope) {
    const { event, data, ack } = envelope;
    if (typeof event !== 'string' || LOCAL.has(event)) return;
    this.#envelopeHandlers.forEach((handler) => call(handler, [envelope]));
    let args = argumentsOf(envelope);
    // A question without data, as in Socket.IO: the handler gets the function alone.
    if (ack !== undefined) args = [...(data == null ? [] : args), this.#sender.replyTo(ack)];
    this.fireIncoming(event, args);
  }

  /**
   * Receive whole envelopes, with `id`, `room` and `key`, before the event's handlers do.
   *
   * @param {(envelope: Envelope) => void} handler
   * @returns {() => void} removes the handler
   */
  onEnvelope(handler) {
    this.#envelopeHandlers.add(handler);
    return () => {
      this.#envelopeHandlers.delete(handler);
    };
  }

  // -------------------------------------------- what the connection tells

  /**
   * @param {Session} session
   * @param {TransportName} transport
   * @param {number} attempts
   */
  #onConnected({ sid, recovered }, transport, attempts) {
    const before = this.connected;
    const isNewSession = this.id !== undefined && this.id !== sid;
    Object.assign(this, { connected: true, id: sid, recovered, transport });
    this.#sender.resend();
    if (isNewSession) this.#rejoin();
    if (before) return;
    this.fire('connect');
    if (attempts > 0) this.#fireOnBoth('reconnect', attempts);
  }

  #rejoin() {
    for (const [room, token] of this.#rooms) {
      const presence = this.#present.get(room);
      if (token ?? presence) this.join(room, { token, presence }).catch((error) => this.#sender.report(error));
    }
  }

  /**
   * @param {string} reason
   * @param {CloseDetails} details
   */
  #onDisconnected(reason, { code, message, retryAfter }) {
    if (code === 1009) this.#sender.outbox.refuseLargest();
    Object.assign(this, { connected: false, transport: null, latency: null });
    this.#endSender(this.#wanted ? { code: 'disconnected', message: message || 'The connection ended before this was answered.' } : LEFT);
    this.fire('disconnect', reason, { description: message, code, retry_after: retryAfter });
  }

  /**
   * @param {CloseDetails} details
   * @param {number} attempt
   */
  #onError({ code, message }, attempt) {
    const refusal = { code: code === 4401 ? 'not_authenticated' : 'connect_error', message };
    const error = errorOf(refusal, { code });
    this.#endSender(refusal);
    this.fire('connect_error', error);
    if (attempt > 0) this.#fireOnBoth('reconnect_error', error);
  }

  #onFailed() {
    this.#endSender({ code: 'disconnected', message: 'The client gave up reconnecting before this was answered.' });
    this.#fireOnBoth('reconnect_failed');
  }

  /**
   * Another person has logged in. The rooms, and what is not answered, are the last one's, but
   * for what the application has asked for since it disconnected.
   *
   * @param {boolean} reconnecting
   */
  #onReplaced(reconnecting) {
    for (const room of this.#rooms.keys()) {
      if (reconnecting || !this.#joining.has(room)) {
        this.#rooms.delete(room);
        this.#present.delete(room);
      }
    }
    if (reconnecting) this.#sender.end({ code: 'disconnected', message: 'Another person logged in before this was answered.' });
  }

  /**
   * What waits is told of an end that is final, before the application hears of it: what
   * its handlers emit is for the next connection.
   *
   * @param {import('./outbox.js').Refusal} refusal
   */
  #endSender(refusal) {
    if (!this.active) this.#sender.end(refusal);
  }

  /**
   * Fire on the manager, where Socket.IO 4 does, and on the socket, where Socket.IO 2 did.
   *
   * @param {string} event
   * @param {...any} args
   */
  #fireOnBoth(event, ...args) {
    this.io.fire(event, ...args);
    this.fire(event, ...args);
  }
}
