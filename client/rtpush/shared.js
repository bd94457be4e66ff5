/**
 * One connection for all tabs of an origin.
 *
 * Rules that hold here:
 * - The tab that holds the lock is the leader: it has the connection, and relays
 *   envelopes between it and the tabs. When that tab closes, however it does, the
 *   browser gives the lock to the next tab.
 * - Every tab has its own cursor, and drops duplicates. A leader starts at its
 *   tab's cursor and tells that position; a tab that is further back, or has no
 *   cursor, first reads from the server what it lacks.
 * - Every tab has its own outbox, so nothing is lost with a leader.
 * - When the leader is silent for too long, another tab steals the lock. The old
 *   leader may be alive and not know, so a tab follows the leader that announced
 *   itself last, and ignores all others.
 * - What ends the leader's connection for good ends the connection of every tab.
 * - Tabs share only with tabs of the same person: the name of the lock and the
 *   channel holds a digest of the token's subject. Two people may use one browser.
 */

import { NO_CREDENTIALS, identityOf } from './credentials.js';
import { Cursor, isBehind } from './cursor.js';
import { readLog, roomsWithoutToken } from './endpoint.js';
import { newId } from './ids.js';
import { Leader } from './leader.js';
import { partingOf } from './parting.js';

/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {import('./transports.js').CloseDetails} CloseDetails */
/** @typedef {import('./connection.js').Listener} Listener */
/** @typedef {import('./credentials.js').Credentials} Credentials */
/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./endpoint.js').Rooms} Rooms */

// Milliseconds without a message of the leader until a tab asks for one, and from then until it steals the lock.
const SILENCE_TIMEOUT = 20_000;
const ANSWER_TIMEOUT = 5000;
// Milliseconds between two attempts to read from the server.
const READ_RETRY_DELAY = 2000;
const MAX_QUEUE = 10_000;

export class SharedConnection {
  /**
   * Whether this page may share: on https and on localhost only. An API that is there may
   * still refuse, in a sandboxed frame or where storage is blocked, so the page tries it.
   *
   * @returns {Promise<boolean>}
   */
  static async supported() {
    try {
      new BroadcastChannel('rtpush').close();
      await navigator.locks.request(`rtpush:${newId()}`, () => {});
      return true;
    } catch {
      return false;
    }
  }

  /** Whether it is connected or will reconnect by itself. */
  active = false;
  cursor = new Cursor();
  /** The session's id, a secret. @type {string|null} */
  sid = null;
  #tab = newId();
  /** The id of the leader that this tab follows. @type {string|null} */
  #leaderId = null;
  /** @type {BroadcastChannel|null} */
  #channel = null;
  /** Envelopes that arrive while this tab reads what it lacks; null at other times. @type {Envelope[]|null} */
  #receiveQueue = null;
  /** The leader, while this tab holds the lock. @type {Leader|null} */
  #leader = null;
  /** Aborted to release the lock. */
  #release = new AbortController();
  #connected = false;
  #credentials = NO_CREDENTIALS;
  /** Takes what is sent while the browser puts the page away. @type {import('./parting.js').Parting|null} */
  #parting = null;
  /** @type {any} */
  #silenceTimer;

  /**
   * @param {Options} options
   * @param {Rooms} rooms to be in; the owner changes them
   * @param {() => Promise<Credentials>} getCredentials called before each attempt
   * @param {Listener} listener
   */
  constructor(options, rooms, getCredentials, listener) {
    this.options = options;
    this.rooms = rooms;
    this.getCredentials = getCredentials;
    this.listener = listener;
    this.cursor.last = options.last;
    /** Of the lock and of the channel. */
    this.name = '';
  }

  /** The name of the lock and the channel, for the person that credentials name. @param {Credentials} credentials */
  async #nameFor(credentials) {
    const { base, query } = this.options;
    return `rtpush:${base}?${new URLSearchParams(/** @type {any} */ (query))}#${await digestOf(credentials)}`;
  }

  /** @param {boolean} [reconnecting] by itself, and not since the application asks for it */
  async start(reconnecting = false) {
    this.stop();
    this.active = true;
    this.#connected = false;
    this.#parting = null;
    const { signal } = this.#release = new AbortController();
    try {
      this.#credentials = await this.getCredentials();
      const name = await this.#nameFor(this.#credentials);
      if (!signal.aborted && this.name !== '' && this.name !== name) this.#forget(reconnecting);
      if (!signal.aborted) this.#open(name);
    } catch (error) {
      if (signal.aborted) return;
      this.#silenceTimer = setTimeout(() => this.start(reconnecting), this.options.reconnectionDelay);
      this.listener.error({ code: 1006, message: `auth failed: ${error}` }, 0);
    }
  }

  /** The credentials of a leader in this tab: a leader speaks for one person only. @returns {Promise<Credentials>} */
  async leaderCredentials() {
    const credentials = await this.getCredentials();
    if (this.name === await this.#nameFor(credentials)) return credentials;
    this.start(true);
    throw new Error('another person has logged in');
  }

  /** Another person has logged in, who begins anew. @param {boolean} reconnecting */
  #forget(reconnecting) {
    this.sid = null;
    this.cursor.forget();
    this.listener.replaced(reconnecting);
  }

  /** @param {string} name */
  #open(name) {
    this.name = name;
    this.#channel = new BroadcastChannel(this.name);
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#post('open');
    this.#requestLock({ signal: this.#release.signal });
    this.#expectLeader(SILENCE_TIMEOUT);
  }

  /** Disconnect this tab. `start` connects again and resumes at the cursor. */
  stop() {
    if (this.#channel !== null) this.#post('close');
    this.active = false;
    clearTimeout(this.#silenceTimer);
    this.#release.abort();
    this.#leader?.stop();
    this.#channel?.close();
    this.#channel = this.#leader = this.#receiveQueue = this.#leaderId = null;
  }

  /**
   * @param {string[]} texts envelopes as JSON
   * @returns {boolean} whether there is a connected leader
   */
  send(texts) {
    const connected = this.#connected && this.#channel !== null;
    if (texts.length > 0 && this.#parting) this.#parting.send(texts);
    else if (texts.length > 0 && connected) this.#post('send', texts);
    return this.#parting !== null || connected;
  }

  /** The owner has changed the rooms. The leader tells the server: it knows which rooms other tabs are in. @returns {boolean} */
  setRooms() {
    this.#post('rooms');
    return true;
  }

  /** The page was resumed, or there is a network again: check at once. */
  resume() {
    if (!this.active) return;
    if (this.#channel === null) {
      this.start(true);
    } else {
      this.#post('resume');
      this.#expectLeader(0);
    }
  }

  /** The browser puts the page away: another tab has to lead, and an open channel would keep the page out of the cache. */
  suspend() {
    if (!this.active) return;
    if (this.sid !== null) {
      this.#parting = partingOf(this.options, this, this.#credentials);
      this.listener.suspended();
    }
    this.#disconnected('transport close', { code: 1001, message: 'the page was hidden' });
    this.stop();
    this.active = true;
  }

  /** There is no network. */
  offline() {
    this.#leader?.connection.offline();
  }

  /**
   * Send a message to the leader.
   *
   * @param {string} type
   * @param {string[]} [texts]
   */
  #post(type, texts = []) {
    this.#channel?.postMessage({ to: 'leader', type, tab: this.#tab, rooms: this.rooms, texts });
  }

  // ---------------------------------------------------------------- leading

  /** @param {LockOptions} options */
  #requestLock(options) {
    const release = this.#release.signal;
    /** @type {Leader|undefined} */
    let leader;
    const lead = () => new Promise((done) => {
      if (release.aborted) return done(null);
      release.addEventListener('abort', done);
      leader = this.#leader = new Leader(this);
      return undefined;
    });
    navigator.locks.request(this.name, options, lead).catch((error) => {
      // This tab has released the lock, or another tab has stolen it.
      leader?.stop();
      if (leader === this.#leader) this.#leader = null;
      // A tab that has stolen the lock still has its earlier request in the browser's queue.
      // Any other error than that of a theft would come again at once.
      if (!release.aborted && !options.steal && error?.name === 'AbortError') this.#requestLock(options);
    });
  }

  /** @param {number} timeout milliseconds without a message until this tab asks for one */
  #expectLeader(timeout) {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => {
      this.#post('rooms');
      // Random, so that one tab steals the lock and the others hear its announcement first.
      this.#silenceTimer = setTimeout(() => this.#stealLock(), ANSWER_TIMEOUT * (1 + Math.random()));
    }, timeout);
  }

  #stealLock() {
    if (this.#leader === null) this.#requestLock({ steal: true });
  }

  // -------------------------------------------------------------- following

  /** @param {any} message of a leader */
  #receive({ to, from, type, args, final }) {
    if (!this.active || (to !== 'tabs' && to !== this.#tab)) return;
    if (type === 'leader') this.#leaderId = from;
    this.#leaderId ??= from;
    if (from !== this.#leaderId) return;
    this.#expectLeader(SILENCE_TIMEOUT);
    if (type === 'leader') this.#leaderChanged();
    else if (type === 'connected') this.#onConnected(args);
    else if (type === 'envelope') this.#onEnvelope(args[0]);
    else if (type !== 'heartbeat') this.#notify(type, args, final);
  }

  #leaderChanged() {
    this.#disconnected('transport close', { code: 1001, message: 'another tab leads now' });
    // The new leader has to know this tab's rooms.
    this.#post('rooms');
  }

  /**
   * @param {string} type
   * @param {any} args
   * @param {boolean} final whether the leader's connection will not reconnect by itself
   */
  #notify(type, args, final) {
    if (final) this.stop();
    if (type === 'disconnected') this.#disconnected(args[0], args[1]);
    else /** @type {any} */ (this.listener)[type](...args);
  }

  /**
   * @param {string} reason
   * @param {CloseDetails} details
   */
  #disconnected(reason, details) {
    this.#receiveQueue = null;
    if (!this.#connected) return;
    this.#connected = false;
    this.listener.disconnected(reason, details);
  }

  /** @param {import('./leader.js').ConnectedArgs} args */
  #onConnected([session, transport, attempts, from]) {
    const { last } = this.cursor;
    const changed = !this.#connected || session.sid !== this.sid;
    // A leader that starts without a position is about to relay a snapshot.
    const lacks = last === null ? from !== null : from === null || !isBehind(from, last);
    this.#connected = true;
    this.sid = session.sid;
    const reads = lacks && this.#receiveQueue === null;
    if (reads) this.#receiveQueue = [];
    if (changed) this.listener.connected({ ...session, recovered: last !== null }, transport, attempts);
    if (reads) this.#catchUp();
  }

  /** Read from the server what the leader will not relay, up to what it has relayed since. */
  async #catchUp() {
    const queue = this.#receiveQueue;
    let before;
    do {
      before = this.cursor.last;
      const overflowed = queue?.length === MAX_QUEUE;
      if (overflowed) queue.length = 0;
      const read = await this.#read().catch(() => false);
      // The leader is gone, and the envelopes that it relayed with it.
      if (queue === null || queue !== this.#receiveQueue) return;
      if (!read) await new Promise((done) => setTimeout(done, READ_RETRY_DELAY));
      if (!read || overflowed) before = undefined;
    } while (before !== this.cursor.last);
    this.#receiveQueue = null;
    queue.forEach((envelope) => this.#onEnvelope(envelope));
  }

  /** @returns {Promise<boolean>} whether the server has answered */
  async #read() {
    const { last } = this.cursor;
    const answer = await readLog(this.options, await this.getCredentials(), roomsWithoutToken(this.rooms), last);
    answer?.events.forEach((envelope) => this.#deliver(envelope));
    this.cursor.advance(answer?.last);
    return answer !== null;
  }

  /** @param {Envelope} envelope that the leader has relayed */
  #onEnvelope(envelope) {
    const { room, id } = envelope;
    // Until this tab knows the leader's position, there may be a gap before the envelope.
    if (!this.#connected) return;
    if (this.#receiveQueue !== null) {
      if (this.#receiveQueue.length < MAX_QUEUE) this.#receiveQueue.push(envelope);
    } else if (room === undefined || room === this.sid || this.rooms.has(room)) {
      this.#deliver(this.#ofOwnRooms(envelope));
    } else if (envelope.event !== 'active_tasks' && envelope.event !== 'state') {
      this.cursor.advance(id);
    }
  }

  /** The leader's `state` also has what the rooms of other tabs retain. @param {Envelope} envelope */
  #ofOwnRooms(envelope) {
    const { event, data } = envelope;
    if (event !== 'state' || !Array.isArray(data?.entries)) return envelope;
    const isOwn = (/** @type {Envelope} */ { room }) => room === undefined || this.rooms.has(room);
    return { ...envelope, data: { entries: data.entries.filter(isOwn) } };
  }

  /** @param {Envelope} envelope */
  #deliver(envelope) {
    if (this.cursor.take(envelope)) this.listener.envelope(envelope);
  }
}

/**
 * A digest of the person that credentials name: other scripts of the page can list the names of locks.
 *
 * @param {Credentials} credentials
 */
async function digestOf(credentials) {
  if (credentials.token === null && credentials.rest === null) return '';
  // Tokens without a subject may be of two people.
  const text = identityOf(credentials, credentials.token);
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
