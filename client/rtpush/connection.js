/**
 * A connection to the server that reconnects by itself, over any transport.
 *
 * Rules that hold here:
 * - A transport works when its `connect` envelope arrives in time. Nothing else
 *   counts, because a proxy may accept a connection and then swallow what is sent.
 * - There is at most one active transport and one candidate. A candidate that
 *   connects becomes the active transport, and only then the old one is closed; the
 *   cursor drops what both delivered.
 * - Close codes 4000 to 4499 end the connection for good, except for a token that
 *   has expired where the application can give another. After any other close the
 *   client reconnects.
 */

import { openTransport } from './connector.js';
import { NO_CREDENTIALS, identityOf } from './credentials.js';
import { Cursor } from './cursor.js';
import { addressOf, prepare, readAddressOf, roomsWithoutToken } from './endpoint.js';
import { Fallback, backoff } from './fallback.js';
import { Heartbeat, RESUME_TIMEOUT } from './heartbeat.js';
import { partingOf } from './parting.js';
import { PING_TIMEOUT, isFinal, reasonOf } from './transports.js';

/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {import('./transports.js').CloseDetails} CloseDetails */
/** @typedef {import('./transports.js').TransportName} TransportName */
/** @typedef {import('./transports.js').Transport} Transport */
/** @typedef {import('./parting.js').Parting} Parting */
/** @typedef {import('./endpoint.js').Rooms} Rooms */
/** @typedef {import('./options.js').Options} Options */

/** The data of a `connect` envelope (PROTOCOL.md, section 4); `heartbeat` in seconds.
 * @typedef {{sid: string, heartbeat: number, recovered: boolean}} Session */

/** What a connection tells its owner.
 * @typedef {object} Listener
 * @property {(session: Session, name: TransportName, attempts: number) => void} connected for the first time, again, or over another transport
 * @property {(reason: string, details: CloseDetails) => void} disconnected
 * @property {(attempt: number) => void} attempt an attempt to reconnect begins
 * @property {(details: CloseDetails, attempt: number) => void} error an attempt has failed
 * @property {() => void} failed there will be no more attempts
 * @property {() => void} suspended the browser puts the page away: what is sent now may still arrive
 * @property {(reconnecting: boolean) => void} replaced another person has logged in; `reconnecting`: since the connection was lost, without a `start`
 * @property {(envelope: Envelope) => void} envelope each logged event once, in order
 * @property {(reply: Envelope) => void} reply the server's answer to an event
 * @property {(milliseconds: number) => void} latency
 */

// Milliseconds for a transport to connect while there is another one to try.
const FALLBACK_TIMEOUT = 4000;
// Milliseconds before the client tries WebSocket again; doubled each time.
const UPGRADE_DELAY = 5000;
const UPGRADE_DELAY_MAX = 600_000;
// Seconds, for a server that names no heartbeat.
const DEFAULT_HEARTBEAT = 25;
// No log has this position: the server refuses it in an envelope, which shows that envelopes arrive.
const NO_POSITION = '-';

export class Connection {
  /** The session's id, a secret. @type {string|null} */
  sid = null;
  cursor = new Cursor();
  /** Whether it is connected or will reconnect by itself. */
  active = false;
  /** The active transport. @type {Transport|null} */
  #transport = null;
  /** The transport that is connecting. @type {Transport|null} */
  #candidate = null;
  /** Takes what is sent while the browser puts the page away. @type {Parting|null} */
  #parting = null;
  /** Settles the candidate's attempt: null when it has connected. @type {(details: CloseDetails|null) => void} */
  #settle = () => {};
  /** Rises on each start and stop: code that awaited something compares it, and stops when it is stale. */
  #generation = 0;
  #attempts = 0;
  #refusedTokens = 0;
  #credentials = NO_CREDENTIALS;
  /** Milliseconds for which nothing had arrived on the last transport when it closed. */
  #idle = 0;
  /** The person that connected last. @type {string|undefined} */
  #identity;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #upgradeTimer;
  #upgradeDelay = UPGRADE_DELAY;
  #fallback;
  #heartbeat;
  #options;
  #getCredentials;
  #listener;

  /**
   * @param {Options} options
   * @param {Rooms} rooms to be in; the owner changes them
   * @param {() => Promise<import('./credentials.js').Credentials>} getCredentials called before each attempt
   * @param {Listener} listener
   */
  constructor(options, rooms, getCredentials, listener) {
    this.#options = options;
    this.rooms = rooms;
    this.#listener = listener;
    this.#getCredentials = getCredentials;
    this.cursor.last = options.last;
    this.#fallback = new Fallback(options.transports, `rtpush:${options.transports}:${options.base}`);
    this.#heartbeat = new Heartbeat(listener);
  }

  start() {
    this.stop();
    this.active = true;
    this.#attempts = 0;
    this.#connect();
  }

  /** Disconnect. `start` connects again and resumes at the cursor. */
  stop() {
    this.active = false;
    this.#parting = null;
    this.#generation += 1;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#upgradeTimer);
    this.#heartbeat.stop();
    this.#retryTimer = undefined;
    this.#candidate?.close();
    this.#transport?.leave();
    this.#candidate = this.#transport = null;
    this.#settle(null);
  }

  /**
   * @param {string[]} texts envelopes as JSON
   * @returns {boolean} whether they were sent; without an active transport they are not
   */
  send(texts) {
    const way = this.#parting ?? this.#transport;
    if (texts.length > 0) way?.send(texts);
    return way !== null;
  }

  /** The owner has changed the rooms. @returns {boolean} whether this tells the server; if not, the owner must */
  setRooms() {
    return false;
  }

  /** The page was resumed, or there is a network again: check the transport, or reconnect, at once. */
  resume() {
    if (this.#transport !== null) this.#heartbeat.start(this.#transport, RESUME_TIMEOUT);
    else if (this.#retryTimer !== undefined) this.#retry();
  }

  /** The browser puts the page away; it calls `resume` when the page is shown again. */
  suspend() {
    if (!this.active || this.sid === null) return;
    this.#parting = partingOf(this.#options, this, this.#credentials, this.#transport?.name !== 'websocket');
    this.#listener.suspended();
    this.#transport?.closeWith(1001, 'the page was hidden');
  }

  /** There is no network: the transport is lost, however long it would take to notice. */
  offline() {
    this.#fallback.forget();
    this.#heartbeat.forget();
    this.#transport?.closeWith(1001, 'the network was lost');
  }

  // ------------------------------------------------------------ connecting

  async #connect() {
    this.#retryTimer = undefined;
    this.#parting = null;
    const generation = ++this.#generation;
    /** @type {CloseDetails} */
    let details = { code: 1006, message: '' };
    try {
      this.#credentials = await this.#getCredentials();
    } catch (error) {
      details.message = `auth failed: ${error}`;
      if (generation === this.#generation) this.#attemptFailed(details);
      return;
    }
    const { timeout, problem } = this.#options;
    if (problem) details = { code: 4400, message: problem };
    else if (generation === this.#generation) this.#identify();
    const names = generation === this.#generation && !problem ? this.#fallback.order() : [];
    for (const name of names) {
      const result = await this.#try(name, name === names.at(-1) ? timeout : Math.min(FALLBACK_TIMEOUT, timeout));
      if (generation !== this.#generation || result === null) return;
      details = result;
      // A proxy holds the stream back, or the browser has no connection left for a POST: other tabs have them all.
      if (name === 'sse' && details.message === 'timeout') this.#heartbeat.share();
      if (isFinal(details) || this.#fallback.waitsFor(name, details.message === 'timeout')) break;
    }
    if (generation === this.#generation) this.#attemptFailed(details);
  }

  /** The session and the position are those of the person that connected last: another one begins anew. */
  #identify() {
    const before = this.#identity;
    this.#identity = identityOf(this.#credentials);
    if (before === undefined || before === this.#identity) return;
    this.sid = null;
    this.cursor.forget();
    this.#listener.replaced(this.#attempts > 0);
  }

  /**
   * @param {TransportName} name
   * @param {number} timeout milliseconds
   * @param {Record<string, string|null>} [resume] the query by which to resume; the cursor's when left out
   * @returns {Promise<CloseDetails|null>} null when it has become the active transport
   */
  #try(name, timeout, resume) {
    return new Promise((resolve) => {
      const preparing = new AbortController();
      const check = () => {
        const candidate = this.#candidate;
        if (candidate?.arriving) {
          // Its greeting is large, or the network slow.
          candidate.arriving = false;
          timer = setTimeout(check, timeout);
        } else {
          settle({ code: 1006, message: 'timeout' });
          candidate?.close();
          this.#candidate = null;
        }
      };
      let timer = setTimeout(check, timeout);
      const settle = this.#settle = (/** @type {CloseDetails|null} */ details) => {
        clearTimeout(timer);
        preparing.abort();
        resolve(details);
      };
      this.#open(name, resume, preparing.signal).catch((error) => {
        // No subprotocol can carry this token, the address is invalid, or the server refuses.
        settle(error.code ? error : { code: 1006, message: String(error) });
      });
    });
  }

  /**
   * @param {TransportName} name
   * @param {Record<string, string|null>|undefined} resume
   * @param {AbortSignal} signal aborted when the attempt has ended
   */
  async #open(name, resume, signal) {
    const options = this.#options;
    const rooms = () => roomsWithoutToken(this.rooms);
    const { last } = this.cursor;
    const sid = last && this.sid;
    const [named, query] = resume ? [[], resume] : await prepare(options, this.#credentials, rooms(), { last, sid }, signal);
    if (signal.aborted) return;
    this.#candidate = openTransport(name, {
      openAddress: (path, defaults) => addressOf(options, path, named, { ...defaults, ...query }),
      readAddress: (read) => readAddressOf(options, rooms(), { last: this.cursor.last, timeout: this.#heartbeat.readTimeout, ...read }),
      postAddress: (post) => addressOf({ base: options.base, query: [] }, 'poll', [], post),
      sid,
      credentials: this.#credentials,
      options,
      receive: (transport, envelope) => this.#receive(transport, envelope),
      advance: (position) => this.cursor.advance(position),
      closed: (transport, details) => this.#closed(transport, details),
    });
  }

  /** @param {CloseDetails} details */
  #attemptFailed(details) {
    if (details.code === 4401) this.#refusedTokens += 1;
    this.#scheduleRetry(details, () => this.#listener.error(details, this.#attempts));
  }

  /**
   * @param {CloseDetails} details
   * @param {(final: boolean) => void} tell the listener; `final` when the server wants no more attempts
   */
  #scheduleRetry(details, tell) {
    const options = this.#options;
    const renewable = details.code === 4401 && options.renewable && this.#refusedTokens < 2;
    const final = isFinal(details) && !renewable;
    this.active = options.reconnection && !final;
    const generation = ++this.#generation;
    tell(final);
    // The listener may have started or stopped the connection.
    if (generation !== this.#generation || !this.active) return;
    if (this.#attempts >= options.reconnectionAttempts || !options.reconnection) {
      this.active = false;
      this.#listener.failed();
    } else {
      const delay = backoff(this.#attempts, options) + Math.random() * 1000 * (details.retryAfter ?? 0);
      this.#retryTimer = setTimeout(() => this.#retry(), delay);
    }
  }

  #retry() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    const generation = this.#generation;
    this.#listener.attempt(++this.#attempts);
    if (generation === this.#generation) this.#connect();
  }

  // ------------------------------------------------------------- connected

  /**
   * @param {Transport} transport
   * @param {Envelope} envelope
   */
  #receive(transport, envelope) {
    const { event, data, id } = envelope;
    if (id === undefined && event === 'connect') {
      this.#connected(transport, data ?? {});
    } else if (id === undefined && event === 'disconnect') {
      transport.closeWith(data?.code ?? 1006, data?.reason ?? 'the server ended it', data?.retry_after);
    } else if (transport !== this.#transport) {
      if (event === 'error') transport.error = data;
    } else {
      this.#heartbeat.received();
      if (event === undefined) this.#listener.reply(envelope);
      else if (id === undefined && event === 'pong' && this.#heartbeat.pong(transport, data)) return;
      else if ((id !== undefined || event !== 'heartbeat') && this.cursor.take(envelope)) this.#listener.envelope(envelope);
    }
  }

  /**
   * @param {Transport} transport
   * @param {any} data of the `connect` envelope
   */
  #connected(transport, data) {
    const heartbeat = data.heartbeat > 0 ? data.heartbeat : DEFAULT_HEARTBEAT;
    const attempts = this.#attempts;
    this.sid = String(data.sid);
    if (transport === this.#candidate) {
      this.#transport?.close();
      this.#transport = transport;
      this.#candidate = null;
      this.#fallback.connected(transport.name);
      this.#attempts = this.#refusedTokens = 0;
      this.#settle(null);
      this.#scheduleUpgrade();
    }
    // A long-poll whose session was lost gets a second `connect`, on the same transport.
    transport.connected(this.sid, heartbeat);
    this.#listener.connected({ sid: this.sid, heartbeat, recovered: data.recovered === true }, transport.name, attempts);
    if (transport === this.#transport) this.#heartbeat.start(transport);
  }

  /**
   * @param {Transport} transport
   * @param {CloseDetails} details
   */
  #closed(transport, details) {
    if (transport === this.#candidate) {
      this.#candidate = null;
      this.#settle(details);
    } else if (transport === this.#transport) {
      this.#transport = null;
      this.#idle = performance.now() - transport.heardAt;
      this.#heartbeat.stop();
      // The server closes a transport when its successor connects, so the candidate's outcome decides.
      if (this.#candidate === null) this.#disconnected(details);
    }
  }

  /** @param {CloseDetails} details */
  #disconnected(details) {
    clearTimeout(this.#upgradeTimer);
    this.#settle(null);
    if (details.code === 1006 && details.message !== PING_TIMEOUT) this.#heartbeat.learn(this.#idle);
    this.#scheduleRetry(details, (final) => this.#listener.disconnected(final ? 'io server disconnect' : reasonOf(details), details));
  }

  // -------------------------------------------------- upgrade to WebSocket

  #scheduleUpgrade() {
    clearTimeout(this.#upgradeTimer);
    if (this.#transport?.name === 'websocket') {
      this.#upgradeDelay = UPGRADE_DELAY;
    } else if (this.#options.transports.includes('websocket')) {
      this.#upgradeTimer = setTimeout(() => this.#upgrade(), this.#upgradeDelay);
      this.#upgradeDelay = Math.min(2 * this.#upgradeDelay, UPGRADE_DELAY_MAX);
    }
  }

  async #upgrade() {
    const generation = this.#generation;
    // The first try names no session. On a path that swallows answers, the server would
    // move the session to the new transport and close the one that works.
    const { timeout } = this.#options;
    let details = await this.#try('websocket', timeout, { last: NO_POSITION });
    if (generation === this.#generation && this.#transport !== null && details !== null && details.code >= 4000) {
      details = await this.#try('websocket', timeout);
    }
    if (generation !== this.#generation || details === null) return;
    if (this.#transport === null) this.#disconnected(details);
    else this.#scheduleUpgrade();
  }
}
