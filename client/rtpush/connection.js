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
 * - A wire lives as long as it answers. What merely arrives may have been on its
 *   way for long: it buys time, and proves nothing.
 * - A timer that fires late tells of a sleep of ours, not of the server's: it
 *   asks again before it judges, once.
 */

import { Cursor } from './cursor.js';
import { Ladder, backoff } from './ladder.js';
import { PING_TIMEOUT, addressOf, openRooms, openWire } from './wires.js';

/** @typedef {import('./wires.js').Envelope} Envelope */
/** @typedef {import('./wires.js').End} End */
/** @typedef {import('./wires.js').Kind} Kind */
/** @typedef {import('./wires.js').Rooms} Rooms */
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
const PING_OFTEN = 1000;
// Two silences are the same when they differ by less than this part.
const SAME = 0.2;
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
  /** How long there was silence before the wire was cut, the last time. */
  #cutAfter = 0;
  #askedAt = 0;
  #heardAt = 0;

  /**
   * @param {Options} options
   * @param {Rooms} rooms to be in; its owner's, who changes them
   * @param {() => Promise<string|null>} askToken
   * @param {Listener} listener
   */
  constructor(options, rooms, askToken, listener) {
    this.options = options;
    this.rooms = rooms;
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

  /**
   * @param {string[]} texts envelopes as JSON
   * @returns {boolean} whether there was a wire to put them on
   */
  send(texts) {
    if (texts.length > 0) this.#wire?.send(texts);
    return this.#wire !== null;
  }

  /** Rooms have been entered or left. @returns {boolean} whether the server learns of it by itself */
  moved() {
    return false;
  }

  /** Nothing has changed but time or the network: find out now, not at the next beat. */
  wake() {
    if (this.#wire !== null) this.#ping(WAKE_PATIENCE);
    else if (this.#retryTimer !== undefined) this.#retry();
  }

  /** The page is put away; `wake` is called when it is there again. */
  rest() {
    this.#wire?.end(1001, 'the page was put away');
  }

  /** The network is gone: what hangs on it is lost, however long it would take to tell. */
  cut() {
    this.ladder.forget();
    this.#pingEvery = PING_EVERY;
    this.#wire?.end(1001, 'the network is gone');
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
    const { timeout } = this.options;
    const kinds = run === this.#run ? this.ladder.next() : [];
    for (const kind of kinds) {
      const result = await this.#try(kind, kind === kinds.at(-1) ? timeout : Math.min(FALLBACK_AFTER, timeout));
      if (run !== this.#run || result === null) return;
      end = result;
      if (isFinal(end) || this.ladder.waitsFor(kind, end.message === 'timeout')) break;
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
          address: (path, more) => addressOf(this.options, path, openRooms(this.rooms), more),
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
    else if (event === 'pong' && data?.sent === this.#askedAt) this.#answered();
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
    if (end.code === 1006 && end.message !== PING_TIMEOUT) this.#learn(performance.now() - this.#heardAt);
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
    const { timeout } = this.options;
    let end = await this.#try('websocket', timeout, { last: NO_POSITION });
    if (run === this.#run && this.#wire !== null && end !== null && end.code >= 4000) end = await this.#try('websocket', timeout);
    if (run !== this.#run || end === null) return;
    if (this.#wire === null) this.#lost(end);
    else this.#climbLater();
  }

  // ------------------------------------------------------------- heartbeat

  /** @param {number} patience milliseconds of silence until it counts as dead */
  #ping(patience) {
    clearTimeout(this.#pingTimer);
    const wire = this.#wire;
    if (wire === null) return;
    this.#askedAt = performance.now();
    wire.send([JSON.stringify({ event: 'ping', data: { sent: this.#askedAt } })]);
    this.#pingTimer = setTimeout(() => this.#judge(wire, patience), patience);
  }

  #answered() {
    clearTimeout(this.#pingTimer);
    this.#pingTimer = setTimeout(() => this.#ping(PONG_PATIENCE), this.#pingEvery);
    this.listener.latency(this.#heardAt - this.#askedAt);
  }

  /**
   * @param {Wire} wire that has not answered
   * @param {number} patience
   */
  #judge(wire, patience) {
    const silence = performance.now() - Math.max(this.#askedAt, this.#heardAt);
    if (silence < patience) this.#pingTimer = setTimeout(() => this.#judge(wire, patience), patience - silence);
    else if (silence > patience + LATE && patience > WAKE_PATIENCE) this.#ping(WAKE_PATIENCE);
    else wire.end(1006, PING_TIMEOUT);
  }

  /**
   * Something on the way may cut connections that are idle for so long. Once is
   * chance; twice is a habit of this network's.
   *
   * @param {number} silence milliseconds before the wire was cut
   */
  #learn(silence) {
    const again = Math.abs(silence - this.#cutAfter) < SAME * silence;
    this.#cutAfter = silence;
    if (again && silence > PING_OFTEN && silence < this.#pingEvery) this.#pingEvery = Math.max(PING_OFTEN, silence / 2);
  }
}

/** Whether the client must not come back by itself. @param {End} end */
export function isFinal(end) {
  return end.code >= 4000 && end.code < 4500;
}

/** In Socket.IO's words. @param {End} end */
function reasonOf(end) {
  if (end.message === PING_TIMEOUT) return end.message;
  return end.code === 1006 ? 'transport error' : 'transport close';
}
