/**
 * `WebSocketManager`: connect, on, emit, disconnect; it notifies the user when the
 * connection is lost and restored.
 *
 * Rules that hold here:
 * - The application may register handlers before `connect`; they stay over every
 *   reconnect.
 * - An event that is emitted without a connection waits for one.
 */

import { io } from './rtpush.js';
import { call } from './rtpush/emitter.js';

/** @typedef {(data: any, ...more: any[]) => void} Handler */

/** Text and type of each notice to the user. */
const NOTICES = {
  connected: ['Live connection established', 'success'],
  lost: ['Live connection lost', 'warning'],
  recovered: ['Live connection restored', 'success'],
  refreshed: ['Live connection restored; the list is new', 'success'],
  stopped: ['Live connection ended', 'error'],
};

export class WebSocketManager {
  /** @type {import('./rtpush/socket.js').Socket|null} */
  socket = null;
  reconnectAttempts = 0;
  /** @type {Map<string, Handler[]>} */
  eventHandlers = new Map();
  #hasConnected = false;

  /**
   * @param {object} [settings]
   * @param {string} [settings.url] of the server; that of the page when left out
   * @param {import('./rtpush/options.js').UserOptions} [settings.options] for `io`
   * @param {(text: string, type: string, name: keyof typeof NOTICES, detail: string) => void} [settings.showToast]
   */
  constructor({ url = '', options = {}, showToast = () => {} } = {}) {
    this.url = url;
    this.options = options;
    this.showToast = showToast;
  }

  /** Connect, unless there is a connection. */
  connect() {
    if (this.socket !== null) {
      this.socket.connect();
      return;
    }
    this.socket = io(this.url, this.options);
    this.#listen(this.socket);
  }

  /** @param {import('./rtpush/socket.js').Socket} socket */
  #listen(socket) {
    socket.on('connect', () => this.#connected(socket));
    socket.on('disconnect', (_reason, { description }) => {
      this.#notify(socket.active ? 'lost' : 'stopped', description);
      this.trigger('status');
    });
    socket.on('reconnect_attempt', (attempt) => {
      this.reconnectAttempts = attempt;
      this.trigger('status');
    });
    socket.on('connect_error', (error) => {
      if (!socket.active) this.#notify('stopped', error.message);
      this.trigger('status');
    });
    socket.on('reconnect_failed', () => this.#notify('stopped', ''));
    socket.io.on('latency', () => this.trigger('status'));
    socket.onAny((event, data) => {
      if (event === 'active_tasks') this.trigger(event, data.tasks, data);
      else this.trigger(event, data);
    });
  }

  /** @param {import('./rtpush/socket.js').Socket} socket */
  #connected(socket) {
    this.reconnectAttempts = 0;
    const again = socket.recovered ? 'recovered' : 'refreshed';
    this.#notify(this.#hasConnected ? again : 'connected', String(socket.transport));
    this.#hasConnected = true;
    this.trigger('status');
  }

  /**
   * @param {keyof typeof NOTICES} name
   * @param {string} detail
   */
  #notify(name, detail) {
    const [text, type] = NOTICES[name];
    this.showToast(text, type, name, detail);
  }

  /**
   * Call a function on each event of a name.
   *
   * @param {string} event one of the server's, or `status`, when the connection has changed
   * @param {Handler} handler
   */
  on(event, handler) {
    this.eventHandlers.set(event, [...(this.eventHandlers.get(event) ?? []), handler]);
  }

  /**
   * Call the handlers of an event, in this page only.
   *
   * @param {string} event
   * @param {...any} args
   */
  trigger(event, ...args) {
    this.eventHandlers.get(event)?.forEach((handler) => call(handler, args));
  }

  /**
   * Send an event.
   *
   * @param {string} event
   * @param {...any} args as in `socket.emit`
   * @throws {Error} before `connect`
   */
  emit(event, ...args) {
    if (this.socket === null) throw new Error('connect() first');
    this.socket.emit(event, ...args);
  }

  disconnect() {
    this.socket?.disconnect();
  }
}
