/**
 * The transports over HTTP: Server-Sent Events and long-poll.
 *
 * Rules that hold here:
 * - EventSource cannot send a header, so SSE uses `fetch`.
 * - A proxy may hold a stream back, after it has passed its beginning. SSE has
 *   connected when the answer to a ping has come on the stream.
 */

import { answerOf, refusalOf } from './answers.js';
import { byteLength } from './encoding.js';
import { headersOf } from './credentials.js';
import { SseParser } from './sse_parser.js';
import { PING_TIMEOUT, Transport, parse } from './transports.js';

/** @typedef {import('./answers.js').Answer} Answer */
/** @typedef {import('./transports.js').Link} Link */

// Milliseconds. The server answers a read within 25 seconds.
const POLL_TIMEOUT = 45_000;
// Milliseconds. The server answers a POST when the application's handlers have finished.
const POST_TIMEOUT = 120_000;
// Replies and pings: a handler that runs for an earlier event may wait for just this reply.
const SKIPS_QUEUE = /^{"(ack|event":"ping)"/;
const POST_BATCH = 64;
// Bytes of one POST: many proxies take 1 MB. A single envelope may be longer.
const POST_BYTES = 1_000_000;
// Bytes of a POST that may outlive the page. A browser takes 64 KiB of them together.
const KEEPALIVE_BYTES = 30_000;
// Seconds to wait after a 429 that names none.
const RATE_LIMIT_DELAY = 1;
// Milliseconds between two reads when the first was answered with no event.
const EMPTY_POLL_DELAY = 200;
const PROBE = { event: 'ping', data: { probe: true } };

/** What SSE and long-poll share: they send by POST, one at a time, so that order holds. */
class HttpTransport extends Transport {
  /** @type {string[]} */
  #sendQueue = [];
  #sending = false;
  /** Whether the application disconnects: what it has sent is still on its way. */
  #leaving = false;
  #posts = new AbortController();

  /**
   * @param {string} sid
   * @param {number} heartbeat
   */
  connected(sid, heartbeat) {
    super.connected(sid, heartbeat);
    this.#sendAll();
  }

  /** @param {string[]} texts */
  send(texts) {
    for (const text of texts) {
      if (SKIPS_QUEUE.test(text)) this.#post([text]);
      else this.#sendQueue.push(text);
    }
    this.#sendAll();
  }

  close() {
    super.close();
    if (!this.#leaving) this.#posts.abort();
  }

  leave() {
    this.#leaving = !this.closed && this.sid !== null;
    super.leave();
    this.#sendAll();
  }

  /** Whether nothing may be sent any more. */
  get #silent() {
    return this.closed && !this.#leaving;
  }

  async #sendAll() {
    if (this.#sending || this.sid === null) return;
    this.#sending = true;
    while (this.#sendQueue.length > 0 && !this.#silent) await this.#post(this.#nextBatch());
    this.#sending = false;
    if (this.#leaving) {
      this.#leaving = false;
      this.#request([], { close: '1' });
    }
  }

  /**
   * @param {string[]} texts
   * @param {Record<string, string>} [query]
   * @returns {Promise<Answer|null>}
   */
  #request(texts, query) {
    const body = texts.join('\n') || '[]';
    const options = { method: 'POST', body, keepalive: byteLength(body) < KEEPALIVE_BYTES, signal: this.#posts.signal };
    return this.json(this.link.postAddress({ sid: this.sid, ...query }), POST_TIMEOUT, options);
  }

  /** @param {string[]} texts @returns {Promise<void>} */
  async #post(texts) {
    const answer = this.#silent ? null : await this.#request(texts);
    if (answer === null) {
      this.#leaving = false;
    } else if (answer.status === 429) {
      await pause(answer);
      await this.#post(texts);
    } else if (answer.status === 413 || (answer.status === 400 && answer.error)) {
      await this.#refused(texts, answer.error ?? { code: 'too_large', message: 'The server takes no message this large.' });
    } else if (Array.isArray(answer.body)) {
      this.receive(answer.body);
    } else {
      this.refuse(answer);
    }
  }

  /**
   * The server takes no part of this batch. One envelope is the reason, and the others are not lost for it.
   *
   * @param {string[]} texts
   * @param {{code: string, message: string}} error
   */
  async #refused(texts, error) {
    if (texts.length > 1) {
      const half = texts.length >> 1;
      await this.#post(texts.slice(0, half));
      await this.#post(texts.slice(half));
    } else {
      const { event, ack } = JSON.parse(texts[0]);
      this.receive([event !== undefined && ack !== undefined ? { ack, error } : { event: 'error', data: error }]);
    }
  }

  #nextBatch() {
    let size = 0;
    const end = this.#sendQueue.findIndex((text, index) => {
      size += byteLength(text) + 1;
      return index === POST_BATCH || (index > 0 && size > POST_BYTES);
    });
    return this.#sendQueue.splice(0, end < 0 ? POST_BATCH : end);
  }

  /**
   * @param {URL} address
   * @param {number} timeout milliseconds
   * @param {RequestInit} [options]
   * @returns {Promise<Answer|null>} null when there is none, and the transport has closed
   */
  async json(address, timeout, options) {
    const timer = setTimeout(() => this.closeWith(1006, 'no answer in time'), timeout);
    const response = await this.request(address, options);
    const answer = response && await answerOf(response);
    clearTimeout(timer);
    return answer;
  }

  /**
   * @param {URL} address
   * @param {RequestInit} [options]
   * @returns {Promise<Response|null>} null when the server cannot be reached, and the transport has closed
   */
  async request(address, options) {
    const { credentials } = this.link;
    // A firewall may refuse a body of any other type. The rest of the credentials is for those who connect.
    const headers = options ? { ...headersOf({ ...credentials, rest: null }), 'content-type': 'application/json' } : headersOf(credentials);
    try {
      return await fetch(address, { signal: this.abort.signal, ...options, headers, credentials: this.link.options.cookies, cache: 'no-store' });
    } catch {
      this.closeWith(1006, 'the server cannot be reached');
      return null;
    }
  }

  /** Close, because of an answer that is not the one expected. @param {Answer} answer */
  refuse(answer) {
    const { code, message, retryAfter } = refusalOf(answer);
    this.closeWith(code, message, retryAfter);
  }
}

export class SseTransport extends HttpTransport {
  /** Milliseconds without a byte until the stream counts as dead; 0 until the `connect` envelope has come. */
  #idleTimeout = 0;
  /** @type {any} */
  #idleTimer;
  /** What has come before the answer to the first ping; null since then. @type {any[]|null} */
  #held = [];

  /** @param {Link} link */
  constructor(link) {
    super('sse', link);
    this.#run();
  }

  /**
   * @param {string} sid
   * @param {number} heartbeat
   */
  connected(sid, heartbeat) {
    super.connected(sid, heartbeat);
    this.#idleTimeout = heartbeat * 2000 + 1000;
    this.#restartIdleTimer();
  }

  close() {
    super.close();
    clearTimeout(this.#idleTimer);
  }

  async #run() {
    const response = await this.request(this.link.openAddress('sse'));
    if (response === null) return;
    if (!response.ok) return this.refuse(await answerOf(response));
    await this.#read(/** @type {ReadableStream} */ (response.body)).catch(() => {});
    this.closeWith(1006, 'the stream ended');
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return;
      this.#restartIdleTimer();
      this.arriving = true;
      this.heardAt = performance.now();
      this.#take(parser.feed(decoder.decode(value, { stream: true })).map(parse));
    }
  }

  /** @param {any[]} envelopes */
  #take(envelopes) {
    if (this.#held === null) return this.receive(envelopes);
    this.#held.push(...envelopes);
    const one = (/** @type {string} */ name) => this.#held?.findIndex((envelope) => envelope?.event === name && envelope.id === undefined) ?? -1;
    const pong = one('pong');
    if (pong >= 0 || one('disconnect') >= 0) {
      const held = this.#held;
      this.#held = null;
      if (pong >= 0) held.splice(pong, 1);
      this.receive(held);
    } else if (this.sid === null && one('connect') >= 0) {
      this.sid = String(this.#held[one('connect')].data?.sid);
      this.send([JSON.stringify(PROBE)]);
    }
  }

  #restartIdleTimer() {
    clearTimeout(this.#idleTimer);
    if (this.#idleTimeout > 0 && !this.closed) this.#idleTimer = setTimeout(() => this.closeWith(1006, PING_TIMEOUT), this.#idleTimeout);
  }
}

export class PollTransport extends HttpTransport {
  /** @param {Link} link */
  constructor(link) {
    super('poll', link);
    this.#run();
  }

  async #run() {
    /** Confirms the last answer, if it asked for that. @type {any} */
    let receipt = null;
    while (!this.closed) {
      this.heardAt = performance.now();
      // The first answer shows whether the transport works, so the server must not hold it.
      const opening = () => this.link.openAddress('poll', { timeout: '0' });
      const answer = await this.json(this.sid === null ? opening() : this.link.readAddress({ sid: this.sid, receipt }), POLL_TIMEOUT);
      if (answer === null || this.closed) return;
      if (answer.status === 429 && this.sid !== null) {
        await pause(answer);
        continue;
      }
      const events = answer.body?.events;
      const greets = this.sid === null && events?.[0]?.event !== 'connect';
      if (!Array.isArray(events) || (greets && this.link.sid === null)) return this.refuse(answer);
      // The server sends no `connect` envelope for a session that still lives.
      if (greets) events.unshift({ event: 'connect', data: { sid: this.link.sid, recovered: events[0]?.event !== 'resync' } });
      this.receive(events);
      receipt = answer.body.receipt ?? null;
      if (!this.closed) this.link.advance(answer.body.last);
      // A server that answers at once, with nothing, must not be polled in a tight loop.
      if (events.length === 0) await new Promise((done) => setTimeout(done, EMPTY_POLL_DELAY));
    }
  }
}

/** Wait as long as a 429 asks for. @param {Answer} answer */
function pause({ retryAfter = RATE_LIMIT_DELAY }) {
  return new Promise((done) => setTimeout(done, 1000 * Math.min(retryAfter, POLL_TIMEOUT / 1000)));
}
