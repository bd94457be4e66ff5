/**
 * The heartbeat of a connection: pings to the server, and the time it has to answer.
 *
 * Rules that hold here:
 * - A transport is alive as long as the server answers pings. Other envelopes may
 *   have been in a buffer for long: they postpone the timeout, and prove nothing.
 * - A timer that fires late shows that this device slept, not that the server is
 *   gone: the client pings once more before it closes the transport.
 */

import { PING_TIMEOUT } from './transports.js';

/** @typedef {import('./transports.js').Transport} Transport */

// All in milliseconds.
const PING_INTERVAL = 15_000;
const PING_INTERVAL_MIN = 1000;
const PONG_TIMEOUT = 8000;
/** For a connection that may have died while the device slept or changed networks. */
export const RESUME_TIMEOUT = 3000;
// Milliseconds of a read of a long-poll; and where tabs wait for each other's reads: a browser
// has six connections to a server of HTTP/1.1.
const LONGEST_READ = 25_000;
const SHARED_READ = 4000;
// A timer that is later than this tells of a sleep.
const SLEPT = 2000;
// Two idle times that differ by less than this fraction are the same.
const SAME = 0.2;

export class Heartbeat {
  #listener;
  /** @type {any} */
  #timer;
  /** Milliseconds that a connection may be idle; for ever until a proxy is known to mind. */
  #maxIdle = Infinity;
  #longestRead = LONGEST_READ;
  /** How long the connection before this one was idle when it was cut. */
  #lastIdle = 0;
  #sentAt = 0;
  #receivedAt = 0;

  /** @param {{latency: (milliseconds: number) => void}} listener told the round trip of each ping */
  constructor(listener) {
    this.#listener = listener;
  }

  /**
   * Ping now, and again after each answer; close the transport when no answer comes.
   *
   * @param {Transport} transport
   * @param {number} [timeout] milliseconds for the answer to the first ping
   */
  start(transport, timeout = PONG_TIMEOUT) {
    this.stop();
    this.#sentAt = performance.now();
    transport.send([JSON.stringify({ event: 'ping', data: { sent: this.#sentAt } })]);
    this.#timer = setTimeout(() => this.#check(transport, timeout), timeout);
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** An envelope has arrived. */
  received() {
    this.#receivedAt = performance.now();
  }

  /**
   * A `pong` has arrived.
   *
   * @param {Transport} transport
   * @param {any} data
   * @returns {boolean} whether it answers the last ping
   */
  pong(transport, data) {
    if (data?.sent !== this.#sentAt) return false;
    this.stop();
    this.#timer = setTimeout(() => this.start(transport), Math.min(PING_INTERVAL, this.#maxIdle));
    this.#listener.latency(this.#receivedAt - this.#sentAt);
    return true;
  }

  /**
   * @param {Transport} transport
   * @param {number} timeout milliseconds
   */
  #check(transport, timeout) {
    const silence = performance.now() - Math.max(this.#sentAt, this.#receivedAt);
    if (silence < timeout) this.#timer = setTimeout(() => this.#check(transport, timeout), timeout - silence);
    else if (silence > timeout + SLEPT && timeout > RESUME_TIMEOUT) this.start(transport, RESUME_TIMEOUT);
    else transport.closeWith(1006, PING_TIMEOUT);
  }

  /**
   * The connection was cut. A proxy may cut every connection that is idle for so
   * long: when two are cut after the same time, the client sees to it that something
   * arrives before.
   *
   * @param {number} idle milliseconds since something arrived on it
   */
  learn(idle) {
    const again = Math.abs(idle - this.#lastIdle) < SAME * idle;
    this.#lastIdle = idle;
    if (again && idle > PING_INTERVAL_MIN) this.#maxIdle = Math.max(PING_INTERVAL_MIN, Math.min(this.#maxIdle, idle / 2));
  }

  /** Another network has other proxies. */
  forget() {
    this.#maxIdle = Infinity;
    this.#longestRead = LONGEST_READ;
  }

  /** The tabs of this browser share the connections that are left. */
  share() {
    this.#longestRead = SHARED_READ;
  }

  /** Seconds of one read of a long-poll; null for as long as the server likes. @returns {string|null} */
  get readTimeout() {
    const most = Math.min(this.#longestRead, this.#maxIdle);
    return most < LONGEST_READ ? `${most / 1000}` : null;
  }
}
