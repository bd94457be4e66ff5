/**
 * The leader of the tabs: the one connection, and the messages between it and the tabs.
 *
 * Rules that hold here:
 * - Messages go over a BroadcastChannel. A tab's message is `{to: 'leader', type,
 *   tab, rooms, texts}`, with all rooms that the tab is in. The leader's is `{to,
 *   from, type, args, final}`, for one tab or for `tabs`, where `final` tells that
 *   the connection will not reconnect by itself.
 * - The connection is in the rooms of all tabs together. A room with a token is
 *   joined by the tab that has the token.
 */

import { Connection } from './connection.js';
import { encode } from './encoding.js';
import { roomsWithoutToken } from './endpoint.js';
import { newId } from './ids.js';

/** @typedef {import('./connection.js').Session} Session */
/** @typedef {import('./endpoint.js').Rooms} Rooms */
/** @typedef {import('./shared.js').SharedConnection} SharedConnection */
/** @typedef {import('./transports.js').TransportName} TransportName */

/** What a leader tells of its connection: the session, the transport, the number of
 * attempts, and the position from which it reads.
 * @typedef {[Session, TransportName, number, string|null]} ConnectedArgs */

// Milliseconds for the other tabs to send their rooms, before the leader connects.
const ROOMS_TIMEOUT = 100;

export class Leader {
  #id = newId();
  /** Rooms of each tab. @type {Map<string, Rooms>} */
  #tabs = new Map();
  /** Without the position, which changes; null without a connection. @type {[Session, TransportName, number]|null} */
  #connected = null;
  /** Runs until the connection is started. @type {ReturnType<typeof setTimeout>|null} */
  #startTimer;

  /** @param {SharedConnection} tab whose cursor it starts at */
  constructor(tab) {
    this.channel = new BroadcastChannel(tab.name);
    this.channel.onmessage = ({ data }) => this.#receive(data);
    /** @type {any} */
    const listener = new Proxy({}, { get: (_, type) => (/** @type {any[]} */ ...args) => this.#broadcast(String(type), args) });
    this.connection = new Connection(tab.options, new Map(), () => tab.leaderCredentials(), listener);
    this.connection.sid = tab.sid;
    this.connection.cursor.last = tab.cursor.last;
    this.#post('tabs', 'leader');
    this.#startTimer = setTimeout(() => {
      this.#startTimer = null;
      this.connection.start();
    }, ROOMS_TIMEOUT);
  }

  stop() {
    if (this.#startTimer !== null) clearTimeout(this.#startTimer);
    this.connection.stop();
    this.channel.close();
  }

  /**
   * @param {string} to
   * @param {string} type
   * @param {any[]} [args]
   */
  #post(to, type, args = []) {
    const final = this.#startTimer === null && !this.connection.active;
    this.channel.postMessage({ to, from: this.#id, type, args, final });
  }

  /**
   * Tell all tabs what the connection tells.
   *
   * @param {string} type
   * @param {any} args
   */
  #broadcast(type, args) {
    if (type === 'connected') this.#connected = args;
    if (type === 'disconnected') this.#connected = null;
    this.#post('tabs', type, type === 'connected' ? [...args, this.connection.cursor.last] : args);
  }

  /** @param {any} message */
  #receive({ to, type, tab, rooms, texts }) {
    if (to !== 'leader') return;
    if (type === 'close') this.#tabs.delete(tab);
    else this.#tabs.set(tab, rooms);
    this.#updateRooms();
    this.connection.send(texts);
    if (type === 'resume') this.connection.resume();
    if (type === 'open' && this.#connected !== null) this.#post(tab, 'connected', [...this.#connected, this.connection.cursor.last]);
    else this.#post(tab, 'heartbeat');
  }

  /** Join the rooms that a tab has joined, and leave those that no tab is in. */
  #updateRooms() {
    const { connection } = this;
    const before = connection.rooms;
    connection.rooms = new Map([...this.#tabs.values()].flatMap((rooms) => [...rooms]));
    const joined = roomsWithoutToken(connection.rooms).filter((room) => !before.has(room));
    const left = [...before.keys()].filter((room) => !connection.rooms.has(room));
    const envelope = (/** @type {string} */ event) => (/** @type {string} */ room) => encode({ event, data: { room } });
    connection.send([...joined.map(envelope('join')), ...left.map(envelope('leave'))]);
  }
}
