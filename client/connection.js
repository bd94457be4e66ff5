/**
 * One lasting conversation with the server, over whatever transport works.
 *
 * Rules that hold here:
 * - A transport works when its `connect` envelope arrives in time; nothing else
 *   counts, because proxies accept and then swallow.
 * - There is at most one live wire and one candidate. A candidate that connects
 *   becomes the live wire and the old one is closed after that, so a change of
 *   transport has no gap; positions remove what both delivered.
 * - `#last` names what this page has really been given. The `position` of a
 *   connect envelope is therefore not adopted: the events or the snapshot that
 *   lead up to it are still on their way, and would be lost with the wire.
 * - Close codes 4000–4499 end the conversation; everything else is retried.
 */

import { Ladder, backoff } from './ladder.js';
import { Outbox } from './outbox.js';
import { isSeen } from './position.js';
import { openWire } from './transports.js';

const CONNECT_PATIENCE = 4000;
const PING_EVERY = 10_000;
const PONG_PATIENCE = 8000;
const PROBE_EVERY = 60_000;
const PROBE_SOON = 2000;
const DEFAULT_HEARTBEAT = 25;

/**
 * @typedef {object} Listener
 * @property {(envelope: object) => void} onEvent  each logged event once, in order
 * @property {(status: {state: string, transport: string|null, rtt: number|null}) => void} onStatus
 * @property {(name: 'connected'|'lost'|'recovered'|'refreshed'|'stopped', detail: string) => void} onNotice
 * @property {(kind: string) => void} onTransport  a transport has proven itself
 */

export class Connection {
  #listener;
  #kinds;
  #ladder;
  #outbox = new Outbox();
  #last = null;
  #wire = null;
  #candidate = null;
  #candidateTimer = 0;
  #retryTimer = 0;
  #probeTimer = 0;
  #state = 'connecting';
  #metBefore = false;
  #heardAt = 0;
  #ping = { number: 0, sentAt: 0 };
  #rtt = null;

  /**
   * @param {Listener} listener
   * @param {string[]} kinds  the transports to use, best first
   * @param {string|null} remembered  the one to begin with
   */
  constructor(listener, kinds, remembered) {
    this.#listener = listener;
    this.#kinds = kinds;
    this.#ladder = new Ladder(kinds, remembered);
  }

  start() {
    const wake = () => this.#wake();
    window.addEventListener('online', wake);
    window.addEventListener('pageshow', wake);
    document.addEventListener('visibilitychange', () => document.hidden || wake());
    setInterval(() => this.#sendPing(), PING_EVERY);
    this.#connect();
  }

  /**
   * Say something, now or as soon as there is a connection.
   *
   * @param {string} event
   * @param {object} data
   * @param {{room?: string|null, onReply?: import('./outbox.js').OnReply}} options
   */
  emit(event, data, { room = null, onReply = () => {} } = {}) {
    const envelope = room === null ? { event, data } : { event, data, room };
    const queued = this.#outbox.add(envelope, onReply);
    if (queued !== null) this.#wire?.send([queued]);
  }

  #connect() {
    this.#retryTimer = 0;
    this.#report('connecting');
    this.#try(this.#ladder.kind);
  }

  #try(kind) {
    const wire = openWire(kind, {
      last: () => this.#last,
      onEnvelope: (envelope) => this.#receive(wire, envelope),
      onPosition: (last) => this.#advance(last),
      onClose: (end) => this.#ended(wire, end),
    });
    this.#candidate = wire;
    this.#candidateTimer = setTimeout(() => wire.end(1006, 'no greeting'), CONNECT_PATIENCE);
  }

  #receive(wire, envelope) {
    const { event, data } = envelope;
    if (event === 'connect') return this.#connected(wire, data ?? {});
    if (event === 'disconnect') return wire.end(data?.code ?? 1006, String(data?.reason ?? ''), data?.retry_after);
    if (wire !== this.#wire) return undefined;
    this.#heardAt = performance.now();
    if (event === undefined) return this.#outbox.settle(envelope);
    if (event === 'pong') return this.#ponged(data);
    return this.#deliver(envelope);
  }

  #deliver(envelope) {
    const { event, id } = envelope;
    if (event === 'active_tasks') {
      // A room's snapshot says nothing about what happened elsewhere up to then.
      if (id !== undefined && envelope.room === undefined) this.#last = id;
    } else if (event === 'resync') {
      this.#last = null;
    } else if (id !== undefined && !this.#advance(id)) {
      return;
    }
    this.#listener.onEvent(envelope);
  }

  /** @returns {boolean} whether `position` is news */
  #advance(position) {
    if (isSeen(position, this.#last)) return false;
    this.#last = position;
    return true;
  }

  #connected(wire, greeting) {
    wire.identify(String(greeting.sid));
    wire.watch(greeting.heartbeat > 0 ? greeting.heartbeat : DEFAULT_HEARTBEAT);
    if (wire !== this.#candidate) return; // long-poll was given a new sid
    this.#dropCandidate();
    const old = this.#wire;
    this.#wire = wire;
    old?.close();
    this.#settleOn(wire.kind);
    wire.send(this.#outbox.takeAll());
    this.#rtt = null;
    this.#report('online');
    if (old === null) this.#greet(greeting.recovered === true);
    this.#sendPing();
  }

  #settleOn(kind) {
    const best = this.#kinds[0];
    const wait = this.#ladder.hasWorked(best) ? PROBE_SOON : PROBE_EVERY;
    this.#ladder.succeeded(kind);
    this.#listener.onTransport(kind);
    this.#probeIn(kind === best ? null : wait);
  }

  #greet(recovered) {
    const back = recovered ? 'recovered' : 'refreshed';
    this.#listener.onNotice(this.#metBefore ? back : 'connected', this.#wire.kind);
    this.#metBefore = true;
  }

  #ended(wire, end) {
    const wasLive = wire === this.#wire;
    if (wasLive) this.#wire = null;
    else this.#dropCandidate();
    if (this.#wire !== null) return this.#probeIn(PROBE_EVERY);
    if (end.code >= 4000 && end.code < 4500) return this.#stop(end.reason);
    if (wasLive) return this.#lost(end);
    // A probe may outlive the wire that it was to replace; its failure is not the ladder's.
    const wait = wire.kind === this.#ladder.kind ? this.#ladder.failed() : backoff(0);
    return this.#retryIn(Math.max(wait, spread(end.retryAfter)));
  }

  #lost(end) {
    clearTimeout(this.#probeTimer);
    this.#report('offline');
    this.#listener.onNotice('lost', end.reason);
    if (this.#candidate === null) this.#retryIn(spread(end.retryAfter) || backoff(0));
  }

  #retryIn(wait) {
    if (wait > 0) this.#report('offline');
    this.#retryTimer = setTimeout(() => this.#connect(), wait);
  }

  #stop(reason) {
    if (this.#candidate !== null) {
      this.#candidate.close();
      this.#dropCandidate();
    }
    this.#report('failed');
    this.#listener.onNotice('stopped', reason);
  }

  #dropCandidate() {
    clearTimeout(this.#candidateTimer);
    this.#candidate = null;
  }

  #probeIn(wait) {
    clearTimeout(this.#probeTimer);
    if (wait !== null) this.#probeTimer = setTimeout(() => this.#probe(), wait);
  }

  #probe() {
    if (this.#wire !== null && this.#candidate === null) this.#try(this.#kinds[0]);
  }

  /** The machine woke up or the network is back: find out now, not at the next beat. */
  #wake() {
    if (this.#wire !== null) {
      this.#sendPing();
    } else if (this.#retryTimer !== 0 && this.#candidate === null && this.#state !== 'failed') {
      clearTimeout(this.#retryTimer);
      this.#connect();
    }
  }

  #sendPing() {
    const wire = this.#wire;
    if (wire === null) return;
    const sentAt = performance.now();
    this.#ping = { number: this.#ping.number + 1, sentAt };
    wire.send([{ event: 'ping', data: this.#ping.number }]);
    // The other wires notice by themselves: a POST times out, a stream falls silent.
    if (wire.kind === 'websocket') setTimeout(() => this.#expectSign(wire, sentAt), PONG_PATIENCE);
  }

  #expectSign(wire, since) {
    if (this.#heardAt < since) wire.end(1006, 'silence');
  }

  #ponged(number) {
    if (number !== this.#ping.number) return;
    this.#rtt = performance.now() - this.#ping.sentAt;
    this.#report(this.#state);
  }

  #report(state) {
    this.#state = state;
    const transport = this.#wire?.kind ?? null;
    this.#listener.onStatus({ state, transport, rtt: transport && this.#rtt });
  }
}

/** A random part of the time that the server asked for, so that not all return at once. */
function spread(seconds) {
  return seconds > 0 ? Math.random() * seconds * 1000 : 0;
}
