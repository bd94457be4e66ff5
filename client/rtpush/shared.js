/**
 * One connection for all tabs of a page.
 *
 * Rules that hold here:
 * - The tab that holds the lock leads: it has the one connection, the trunk, and
 *   passes on what comes and goes. The lock is the browser's, which gives it to
 *   the next tab whenever and however the leading one ends.
 * - Every tab has a cursor of its own, and drops what it has seen. A leader
 *   begins where its own cursor is and says so; a tab that is further back, or
 *   has none, reads what it lacks by itself before it goes on.
 * - Every tab says its own things until they are answered; a leader that goes
 *   takes nothing with it.
 * - A leader that says nothing for too long is unseated. It may wake up later and
 *   not know: a tab follows the newest that said it leads, and hears no other.
 * - What ends the leader's connection for good ends that of every tab.
 */

import { Connection } from './connection.js';
import { Cursor, isBehind } from './cursor.js';
import { newId } from './ids.js';
import { encode } from './outbox.js';
import { openRooms, readAt } from './wires.js';

/** @typedef {import('./wires.js').Envelope} Envelope */
/** @typedef {import('./wires.js').End} End */
/** @typedef {import('./wires.js').Kind} Kind */
/** @typedef {import('./connection.js').Greeting} Greeting */
/** @typedef {import('./connection.js').Listener} Listener */
/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./wires.js').Rooms} Rooms */

/** What a leader tells of its connection. @typedef {[Greeting, Kind, number, string|null]} Up */

// Milliseconds without a word of the leader until it is asked, and until it is unseated then.
const SILENCE = 20_000;
const PATIENCE = 5000;
// For the other tabs to say which rooms they are in.
const GATHERING = 100;
const MOST_WAITING = 10_000;
const RETRY = 2000;

export class Shared {
  /** Whether this browser can: the APIs are there on https and on localhost only. */
  static get possible() {
    return typeof BroadcastChannel === 'function' && globalThis.navigator?.locks !== undefined;
  }

  active = false;
  cursor = new Cursor();
  /** @type {string|null} */
  sid = null;
  #tab = newId();
  /** The trunk that is followed. @type {string|null} */
  #leader = null;
  /** @type {BroadcastChannel|null} */
  #channel = null;
  /** What has come while this tab reads what it lacks. @type {Envelope[]|null} */
  #waiting = null;
  /** @type {Trunk|null} */
  #trunk = null;
  #release = new AbortController();
  #up = false;
  /** @type {any} */
  #silence;

  /**
   * @param {Options} options
   * @param {Rooms} rooms its owner's, who changes them
   * @param {() => Promise<string|null>} askToken
   * @param {Listener} listener
   */
  constructor(options, rooms, askToken, listener) {
    this.options = options;
    this.rooms = rooms;
    this.askToken = askToken;
    this.listener = listener;
    this.cursor.last = options.last;
    this.name = `rtpush:${options.base}?${new URLSearchParams(/** @type {any} */ (options.query))}`;
  }

  start() {
    this.stop();
    this.active = true;
    this.#up = false;
    this.#release = new AbortController();
    this.#channel = new BroadcastChannel(this.name);
    this.#channel.onmessage = ({ data }) => this.#heard(data);
    this.#post('hello');
    this.#campaign({ signal: this.#release.signal });
    this.#listenFor(SILENCE);
  }

  stop() {
    if (this.#channel !== null) this.#post('bye');
    this.active = false;
    clearTimeout(this.#silence);
    this.#release.abort();
    this.#trunk?.stop();
    this.#channel?.close();
    this.#channel = this.#trunk = this.#waiting = this.#leader = null;
  }

  /** @param {string[]} texts @returns {boolean} whether there is somebody to give them to */
  send(texts) {
    if (texts.length > 0) this.#post('send', texts);
    return this.#up;
  }

  /** The leader knows who is in a room and who is still, so that it tells the server. */
  moved() {
    this.#post('rooms');
    return true;
  }

  wake() {
    if (!this.active) return;
    if (this.#channel === null) {
      this.start();
    } else {
      this.#post('wake');
      this.#listenFor(0);
    }
  }

  /** The page is put away: another tab has to lead, and nothing may hold the page. */
  rest() {
    if (!this.active) return;
    this.#lost('transport close', { code: 1001, message: 'the page was put away' });
    this.stop();
    this.active = true;
  }

  cut() {
    this.#trunk?.connection.cut();
  }

  /**
   * @param {string} what
   * @param {string[]} [texts]
   */
  #post(what, texts = []) {
    this.#channel?.postMessage({ to: 'leader', what, tab: this.#tab, rooms: this.rooms, texts });
  }

  // ---------------------------------------------------------------- leading

  /** @param {LockOptions} how */
  #campaign(how) {
    const release = this.#release.signal;
    /** @type {Trunk|undefined} */
    let trunk;
    const lead = () => new Promise((done) => {
      if (release.aborted) return done(null);
      release.addEventListener('abort', done);
      trunk = this.#trunk = new Trunk(this);
      return undefined;
    });
    navigator.locks.request(this.name, how, lead).catch(() => {
      // Given up by this tab, or taken by one that heard nothing from it.
      trunk?.stop();
      if (trunk === this.#trunk) this.#trunk = null;
      // One that took it has still its place in the queue.
      if (!release.aborted && !how.steal) this.#campaign(how);
    });
  }

  /** @param {number} silence milliseconds of it that are nothing to ask about */
  #listenFor(silence) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#post('rooms');
      // All tabs have heard the same: the first one to act spares the others.
      this.#silence = setTimeout(() => this.#unseat(), PATIENCE * (1 + Math.random()));
    }, silence);
  }

  #unseat() {
    if (this.#trunk === null) this.#campaign({ steal: true });
  }

  // -------------------------------------------------------------- following

  /** @param {any} message */
  #heard({ to, from, what, args, over }) {
    if (!this.active || (to !== 'tabs' && to !== this.#tab)) return;
    if (what === 'lead') this.#leader = from;
    this.#leader ??= from;
    if (from !== this.#leader) return;
    this.#listenFor(SILENCE);
    if (what === 'lead') this.#led();
    else if (what === 'up') this.#joined(args);
    else if (what === 'envelope') this.#receive(args[0]);
    else if (what !== 'beat') this.#tell(what, args, over);
  }

  /** Another tab leads from now on; it has to know where this one is. */
  #led() {
    this.#lost('transport close', { code: 1001, message: 'another tab leads now' });
    this.#post('rooms');
  }

  /**
   * @param {string} what
   * @param {any} args
   * @param {boolean} over whether the leader's connection will not come back by itself
   */
  #tell(what, args, over) {
    if (over) this.stop();
    if (what === 'down') this.#lost(args[0], args[1]);
    else /** @type {any} */ (this.listener)[what](...args);
  }

  /**
   * @param {string} reason
   * @param {End} end
   */
  #lost(reason, end) {
    this.#waiting = null;
    if (!this.#up) return;
    this.#up = false;
    this.listener.down(reason, end);
  }

  /** @param {Up} up */
  #joined([greeting, kind, attempts, from]) {
    const { last } = this.cursor;
    const news = !this.#up || greeting.sid !== this.sid;
    // A leader that begins nowhere is about to pass on a snapshot.
    const lacks = last === null ? from !== null : from === null || !isBehind(from, last);
    this.#up = true;
    this.sid = greeting.sid;
    const reads = lacks && this.#waiting === null;
    if (reads) this.#waiting = [];
    if (news) this.listener.up({ ...greeting, recovered: last !== null }, kind, attempts);
    if (reads) this.#catchUp();
  }

  /** Read what the leader will not tell, up to what it has told since. */
  async #catchUp() {
    const waiting = this.#waiting;
    let before;
    do {
      before = this.cursor.last;
      const overflown = waiting?.length === MOST_WAITING;
      if (overflown) waiting.length = 0;
      const read = await this.#read().catch(() => false);
      // The leader is gone, and with it what was waited for.
      if (waiting === null || waiting !== this.#waiting) return;
      if (!read) await new Promise((resume) => setTimeout(resume, RETRY));
      if (!read || overflown) before = undefined;
    } while (before !== this.cursor.last);
    this.#waiting = null;
    waiting.forEach((envelope) => this.#receive(envelope));
  }

  /** @returns {Promise<boolean>} whether there was an answer */
  async #read() {
    const { last } = this.cursor;
    const answer = await readAt(this.options, await this.askToken(), openRooms(this.rooms), last);
    answer?.events.forEach((envelope) => this.#deliver(envelope));
    this.cursor.advance(answer?.last);
    return answer !== null;
  }

  /** @param {Envelope} envelope */
  #receive(envelope) {
    const { room, id } = envelope;
    // Until it knows where the leader is, what it hears may lie behind a gap.
    if (!this.#up) return;
    if (this.#waiting !== null) {
      if (this.#waiting.length < MOST_WAITING) this.#waiting.push(envelope);
    } else if (room === undefined || room === this.sid || this.rooms.has(room)) {
      this.#deliver(envelope);
    } else if (envelope.event !== 'active_tasks') {
      this.cursor.advance(id);
    }
  }

  /** @param {Envelope} envelope */
  #deliver(envelope) {
    if (this.cursor.take(envelope)) this.listener.envelope(envelope);
  }
}

/** The leading tab's connection, and what passes through it. */
class Trunk {
  #id = newId();
  /** Rooms of each tab. @type {Map<string, Rooms>} */
  #tabs = new Map();
  /** @type {[Greeting, Kind, number]|null} */
  #up = null;
  /** Runs until the connection is begun. @type {ReturnType<typeof setTimeout>|null} */
  #gathering;

  /** @param {Shared} tab whose cursor it begins at */
  constructor(tab) {
    this.channel = new BroadcastChannel(tab.name);
    this.channel.onmessage = ({ data }) => this.#heard(data);
    /** @type {any} */
    const tellers = new Proxy({}, { get: (_, what) => (/** @type {any[]} */ ...args) => this.#pass(String(what), args) });
    this.connection = new Connection(tab.options, new Map(), tab.askToken, tellers);
    this.connection.sid = tab.sid;
    this.connection.cursor.last = tab.cursor.last;
    this.#tell('tabs', 'lead');
    this.#gathering = setTimeout(() => {
      this.#gathering = null;
      this.connection.start();
    }, GATHERING);
  }

  stop() {
    if (this.#gathering !== null) clearTimeout(this.#gathering);
    this.connection.stop();
    this.channel.close();
  }

  /**
   * @param {string} to
   * @param {string} what
   * @param {any[]} [args]
   */
  #tell(to, what, args = []) {
    const over = this.#gathering === null && !this.connection.active;
    this.channel.postMessage({ to, from: this.#id, what, args, over });
  }

  /**
   * What the connection tells, to all tabs.
   *
   * @param {string} what
   * @param {any} args
   */
  #pass(what, args) {
    if (what === 'up') this.#up = args;
    if (what === 'down') this.#up = null;
    this.#tell('tabs', what, what === 'up' ? [...args, this.connection.cursor.last] : args);
  }

  /** @param {any} message */
  #heard({ to, what, tab, rooms, texts }) {
    if (to !== 'leader') return;
    if (what === 'bye') this.#tabs.delete(tab);
    else this.#tabs.set(tab, rooms);
    this.#gather();
    this.connection.send(texts);
    if (what === 'wake') this.connection.wake();
    if (what === 'hello' && this.#up !== null) this.#tell(tab, 'up', [...this.#up, this.connection.cursor.last]);
    else this.#tell(tab, 'beat');
  }

  /** Be in the rooms of all tabs together. A room of a token is entered by its tabs, as they have it. */
  #gather() {
    const { connection } = this;
    const before = connection.rooms;
    connection.rooms = new Map([...this.#tabs.values()].flatMap((rooms) => [...rooms]));
    const entered = openRooms(connection.rooms).filter((room) => !before.has(room));
    const left = [...before.keys()].filter((room) => !connection.rooms.has(room));
    const say = (/** @type {string} */ event) => (/** @type {string} */ room) => encode({ event, data: { room } });
    connection.send([...entered.map(say('join')), ...left.map(say('leave'))]);
  }
}
