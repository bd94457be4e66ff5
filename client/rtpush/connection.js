/**
 * One lasting conversation with a server, over whatever transport works.
 *
 * Rules that hold here:
 * - A transport works when its `connect` envelope arrives in time; nothing else
 *   counts, because proxies accept and then swallow.
 * - There is at most one live wire and one candidate. A candidate that connects
 *   becomes the live wire and the old one is closed after that; the cursor
 *   removes what both delivered.
 * - Close codes 4000 to 4499 end the conversation, but for a token that has
 *   expired where a fresh one can be had; everything else is tried again.
 * - A timer that fires late tells of a sleep of ours, not of the server's: it
 *   asks again before it judges.
 */

import { Cursor } from './cursor.js';
import { newId } from './ids.js';
import { Ladder, backoff } from './ladder.js';
import { addressOf, openWire } from './wires.js';

/** @typedef {import('./wires.js').Envelope} Envelope */
/** @typedef {import('./wires.js').End} End */
/** @typedef {import('./wires.js').Kind} Kind */
/** @typedef {import('./wires.js').Wire} Wire */
/** @typedef {import('./options.js').Options} Options */

/** The data of `connect` (PROTOCOL.md, section 4).
 * @typedef {{sid: string, heartbeat: number, recovered: boolean}} Greeting */

/** What a conversation tells its owner.
 * @typedef {object} Listener
 * @property {(greeting: Greeting, kind: Kind, attempts: number) => void} up
 * @property {(reason: string, end: End) => void} down
 * @property {(attempt: number) => void} attempt
 * @property {(end: End, attempt: number) => void} error an attempt failed
 * @property {() => void} failed there will be no more attempts
 * @property {(envelope: Envelope) => void} envelope each logged event once, in order
 * @property {(reply: Envelope) => void} reply
 * @property {(milliseconds: number) => void} latency
 */

const FALLBACK_AFTER = 4000;
const PING_EVERY = 15_000;
const PING_OFTEN = 2000;
const PONG_PATIENCE = 8000;
const WAKE_PATIENCE = 3000;
const LATE = 2000;
const CLIMB_FIRST = 5000;
const CLIMB_SLOWEST = 600_000;
const DEFAULT_HEARTBEAT = 25;
// No log begins below it: a WebSocket that asks for it is refused, in an envelope.
const NO_POSITION = '-';

export class Connection {
  /** @type {string|null} */
  sid = null;
  /** @type {Set<string>} */
  rooms = new Set();
  cursor = new Cursor();
  /** Whether it is connected or will be again by itself. */
  active = false;
  /** @type {Wire|null} */
  #wire = null;
  /** @type {Wire|null} */
  #candidate = null;
  /** Settles the attempt of the candidate. @type {(end: End|null) => void} */
  #decide = () => {};
  /** Rises whenever what is under way loses its meaning. */
  #run = 0;
  #attempts = 0;
  #refusedTokens = 0;
  /** @type {string|null} */
  #token = null;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #climbTimer;
  /** @type {any} */
  #pingTimer;
  #climbWait = CLIMB_FIRST;
  #pingEvery = PING_EVERY;
  #heardAt = 0;
  #pingId = newId().slice(0, 8);

  /**
   * @param {Options} options
   * @param {() => Promise<string|null>} askToken
   * @param {Listener} listener
   */
  constructor(options, askToken, listener) {
    this.options = options;
    this.listener = listener;
    this.askToken = askToken;
    this.cursor.last = options.last;
    this.ladder = new Ladder(options.kinds, `rtpush:${options.kinds}:${options.base}`);
  }

  start() {
    this.stop();
    this.active = true;
    this.#attempts = 0;
    this.#connect();
  }

  /** End it from this side; `start` goes on where it was. */
  stop() {
    this.active = false;
    this.#run += 1;
    for (const timer of [this.#retryTimer, this.#climbTimer, this.#pingTimer]) clearTimeout(timer);
    this.#retryTimer = undefined;
    this.#candidate?.close();
    this.#wire?.close();
    this.#candidate = this.#wire = null;
    this.#decide(null);
  }

  /** @param {string[]} texts envelopes as JSON; lost when there is no connection */
  send(texts) {
    if (texts.length > 0) this.#wire?.send(texts);
  }

  /** @param {string} room to be in from the start of every connection */
  enter(room) {
    this.rooms.add(room);
  }

  /** @param {string} room */
  exit(room) {
    this.rooms.delete(room);
    this.cursor.leave(room);
  }

  /** Nothing has changed but time or the network: find out now, not at the next beat. */
  wake() {
    if (this.#wire !== null) this.#ping(WAKE_PATIENCE);
    else if (this.#retryTimer !== undefined) this.#retry();
  }

  /** The network is gone: what hangs on it is lost, however long it would take to tell. */
  cut() {
    this.ladder.forget();
    this.#wire?.end(1006, 'the network is gone');
  }

  // ------------------------------------------------------------ connecting

  async #connect() {
    this.#retryTimer = undefined;
    const run = ++this.#run;
    /** @type {End} */
    let end = { code: 1006, message: 'no transport is left to try' };
    try {
      this.#token = await this.askToken();
    } catch (error) {
      end.message = `auth failed: ${error}`;
      if (run === this.#run) this.#attemptFailed(end);
      return;
    }
    const kinds = run === this.#run ? this.ladder.next() : [];
    for (const [index, kind] of kinds.entries()) {
      const isLast = index === kinds.length - 1;
      const result = await this.#try(kind, isLast ? this.options.timeout : Math.min(FALLBACK_AFTER, this.options.timeout));
      if (run !== this.#run || result === null) return;
      end = result;
      if (isFinal(end)) break;
    }
    if (run === this.#run) this.#attemptFailed(end);
  }

  /**
   * @param {Kind} kind
   * @param {number} patience milliseconds
   * @param {Record<string, string|null>} [place] where to read from, if not where we are
   * @returns {Promise<End|null>} null when it has become the live wire
   */
  #try(kind, patience, place) {
    return new Promise((resolve) => {
      /** @type {any} */
      let timer;
      this.#decide = (end) => {
        clearTimeout(timer);
        resolve(end);
      };
      try {
        const wire = openWire(kind, {
          address: (path, more) => addressOf(this.options, path, this.rooms, more),
          place: () => place ?? { last: this.cursor.last, sid: this.cursor.last && this.sid },
          token: this.#token,
          credentials: this.options.credentials,
          receive: (wire, envelope) => this.#receive(wire, envelope),
          advance: (position) => this.cursor.advance(position),
          ended: (wire, end) => this.#ended(wire, end),
        });
        this.#candidate = wire;
        timer = setTimeout(() => wire.end(1006, 'timeout'), patience);
      } catch (error) {
        // A token that no subprotocol can carry, or an address that is none.
        resolve({ code: 1006, message: String(error) });
      }
    });
  }

  /** @param {End} end */
  #attemptFailed(end) {
    if (end.code === 4401) this.#refusedTokens += 1;
    this.#retryAfter(end, () => this.listener.error(end, this.#attempts));
  }

  /**
   * @param {End} end
   * @param {(over: boolean) => void} tell whether the server wants no more attempts
   */
  #retryAfter(end, tell) {
    const { options } = this;
    const renewable = end.code === 4401 && options.renewable && this.#refusedTokens < 2;
    const exhausted = this.#attempts >= options.reconnectionAttempts;
    const over = isFinal(end) && !renewable;
    this.active = options.reconnection && !over;
    const run = ++this.#run;
    tell(over);
    // Whoever was told may have begun anew, or ended it all.
    if (run !== this.#run || !this.active) return;
    if (exhausted) {
      this.active = false;
      this.listener.failed();
      return;
    }
    const wait = backoff(this.#attempts, options) + Math.random() * 1000 * (end.retryAfter ?? 0);
    this.#retryTimer = setTimeout(() => this.#retry(), wait);
  }

  #retry() {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = undefined;
    this.#attempts += 1;
    const run = this.#run;
    this.listener.attempt(this.#attempts);
    if (run === this.#run) this.#connect();
  }

  // ------------------------------------------------------------- connected

  /**
   * @param {Wire} wire
   * @param {Envelope} envelope
   */
  #receive(wire, envelope) {
    const { event, data, id } = envelope;
    if (id === undefined && event === 'connect') {
      this.#greeted(wire, data ?? {});
    } else if (id === undefined && event === 'disconnect') {
      wire.end(data?.code ?? 1006, data?.reason ?? 'the server ended it', data?.retry_after);
    } else if (wire !== this.#wire) {
      if (event === 'error') wire.why = data;
    } else {
      this.#heardAt = performance.now();
      this.#hand(envelope);
    }
  }

  /** @param {Envelope} envelope */
  #hand(envelope) {
    const { event, data } = envelope;
    if (event === undefined) this.listener.reply(envelope);
    else if (event === 'pong' && data?.by === this.#pingId) this.listener.latency(performance.now() - data.sent);
    else if (event !== 'heartbeat' && this.cursor.take(envelope)) this.listener.envelope(envelope);
  }

  /**
   * @param {Wire} wire
   * @param {any} data
   */
  #greeted(wire, data) {
    const heartbeat = data.heartbeat > 0 ? data.heartbeat : DEFAULT_HEARTBEAT;
    const attempts = this.#attempts;
    this.sid = String(data.sid);
    if (wire === this.#candidate) {
      this.#wire?.close();
      this.#wire = wire;
      this.#candidate = null;
      this.ladder.succeeded(wire.kind);
      this.#attempts = this.#refusedTokens = 0;
      this.#decide(null);
      this.#climbLater();
    }
    // A long-poll whose session was gone is greeted again, on the wire it has.
    wire.greeted(this.sid, heartbeat);
    this.listener.up({ sid: this.sid, heartbeat, recovered: data.recovered === true }, wire.kind, attempts);
    if (wire === this.#wire) this.#ping(PONG_PATIENCE);
  }

  /**
   * @param {Wire} wire
   * @param {End} end
   */
  #ended(wire, end) {
    if (wire === this.#candidate) {
      this.#candidate = null;
      this.#decide(end);
    } else if (wire === this.#wire) {
      this.#wire = null;
      // The server lets go of a wire when its successor comes; that one decides.
      if (this.#candidate === null) this.#lost(end);
    }
  }

  /** @param {End} end */
  #lost(end) {
    clearTimeout(this.#climbTimer);
    clearTimeout(this.#pingTimer);
    const silence = performance.now() - this.#heardAt;
    // Something on the way cuts connections that are idle for so long.
    if (end.code === 1006 && silence > PING_OFTEN && silence < this.#pingEvery) this.#pingEvery = Math.max(PING_OFTEN, silence / 2);
    this.#retryAfter(end, (over) => this.listener.down(over ? 'io server disconnect' : reasonOf(end), end));
  }

  // -------------------------------------------------------------- climbing

  #climbLater() {
    clearTimeout(this.#climbTimer);
    if (this.#wire?.kind === 'websocket') {
      this.#climbWait = CLIMB_FIRST;
    } else if (this.options.kinds.includes('websocket')) {
      this.#climbTimer = setTimeout(() => this.#climb(), this.#climbWait);
      this.#climbWait = Math.min(2 * this.#climbWait, CLIMB_SLOWEST);
    }
  }

  /** Back to WebSocket, if it works by now. */
  async #climb() {
    const run = this.#run;
    // Asked without a session first: were the real one tried on a path that
    // swallows answers, the server would have ended the wire that works.
    let end = await this.#try('websocket', FALLBACK_AFTER, { last: NO_POSITION });
    if (run === this.#run && this.#wire !== null && end !== null && end.code >= 4000) end = await this.#try('websocket', FALLBACK_AFTER);
    if (run !== this.#run || end === null) return;
    if (this.#wire === null) this.#lost(end);
    else this.#climbLater();
  }

  // ------------------------------------------------------------- heartbeat

  /** @param {number} patience milliseconds */
  #ping(patience) {
    clearTimeout(this.#pingTimer);
    const wire = this.#wire;
    if (wire === null) return;
    const sent = performance.now();
    wire.send([JSON.stringify({ event: 'ping', data: { by: this.#pingId, sent } })]);
    this.#pingTimer = setTimeout(() => this.#judge(wire, sent, patience), patience);
  }

  /**
   * @param {Wire} wire
   * @param {number} sent
   * @param {number} patience
   */
  #judge(wire, sent, patience) {
    const late = performance.now() - sent - patience > LATE;
    if (late) this.#ping(WAKE_PATIENCE);
    else if (this.#heardAt < sent) wire.end(1006, 'ping timeout');
    else this.#pingTimer = setTimeout(() => this.#ping(PONG_PATIENCE), this.#pingEvery);
  }
}

/** Whether the client must not come back by itself. @param {End} end */
export function isFinal(end) {
  return end.code >= 4000 && end.code < 4500;
}

/** In Socket.IO's words. @param {End} end */
function reasonOf(end) {
  if (end.message === 'ping timeout') return end.message;
  return end.code === 1006 ? 'transport error' : 'transport close';
}
