/**
 * Three transports with one interface: WebSocket, Server-Sent Events, long-poll.
 *
 * Rules that hold here:
 * - A transport connects when it is constructed. It gives envelopes to
 *   `link.receive`, and tells `link.closed` once when it closes without being asked.
 * - After `close()` a transport calls nothing of the link again.
 * - The connection calls `connected` when the `connect` envelope has come. Until
 *   then HTTP transports hold their send queue.
 * - The token travels in a header or a WebSocket subprotocol, never in an address,
 *   which servers and proxies log. EventSource cannot send a header, so SSE uses
 *   `fetch`.
 * - An HTTP answer is the server's own only with an error code of the protocol. A
 *   maintenance page or a firewall may answer with any status, and passes: it ends
 *   no connection for good.
 */

import { byteLength } from './encoding.js';
import { headersOf } from './endpoint.js';

/** The message of a close for want of an answer, as Socket.IO words it. */
export const PING_TIMEOUT = 'ping timeout';

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
// What refuses a client, and not only one request (PROTOCOL.md, section 9).
const REFUSES_CLIENT = /^(bad_\w+|too_many_rooms|not_authenticated|forbidden)$/;
// Milliseconds between two reads when the first was answered with no event.
const EMPTY_POLL_DELAY = 200;
// A sid that no server knows asks for a session; without any sid the server does a single read.
const NEW_SESSION = 'new';

/** One envelope, as PROTOCOL.md describes it. The client trusts no field of it.
 * @typedef {{event?: any, data?: any, id?: any, room?: any, key?: any, ack?: any, error?: any}} Envelope */

/** Why a transport closed: the protocol's close code, and the seconds that the
 * server asks the client to wait.
 * @typedef {{code: number, message: string, retryAfter?: number}} CloseDetails */

/** What a connection gives to a transport.
 * @typedef {object} Link
 * @property {(path: string, query: Record<string, string|null>) => URL} address of a read
 * @property {(query: Record<string, string|null>) => URL} postAddress
 * @property {() => Record<string, string|null>} resume the query parameters `last` and `sid`, by which the server resumes the session
 * @property {string|null} token
 * @property {RequestCredentials} credentials
 * @property {(transport: Transport, envelope: Envelope) => void} receive
 * @property {(position: string) => void} advance move the cursor to the position that a long-poll answer names
 * @property {(transport: Transport, details: CloseDetails) => void} closed
 */

/** @typedef {'websocket'|'sse'|'poll'} TransportName */

/** `body`: null where it is no JSON; `error`: of the protocol, with a code.
 * @typedef {{status: number, body: any, error?: {code: string, message: string}, retryAfter?: number}} Answer */

export class Transport {
  closed = false;
  /** The session's id; null until the `connect` envelope has come. @type {string|null} */
  sid = null;
  abort = new AbortController();
  /** Data of the `error` envelope that the server sent ahead of a close: a close frame has no room for it. @type {any} */
  error;

  /**
   * @param {TransportName} name
   * @param {Link} link
   */
  constructor(name, link) {
    this.name = name;
    this.link = link;
  }

  /**
   * The `connect` envelope has come.
   *
   * @param {string} sid
   * @param {number} _heartbeat seconds between two heartbeats of the server
   */
  connected(sid, _heartbeat) {
    this.sid = sid;
  }

  /** @param {string[]} _texts envelopes as JSON */
  send(_texts) {}

  /** @param {unknown[]} envelopes */
  receive(envelopes) {
    for (const envelope of envelopes) {
      if (!this.closed && typeof envelope === 'object' && envelope !== null) this.link.receive(this, envelope);
    }
  }

  /**
   * Close, and tell the connection why.
   *
   * @param {number} code
   * @param {string} message
   * @param {number} [retryAfter] seconds
   */
  closeWith(code, message, retryAfter) {
    if (this.closed) return;
    this.close();
    this.link.closed(this, { code, message: String(this.error?.message ?? message), retryAfter: this.error?.retry_after ?? retryAfter });
  }

  /** Close, and tell nobody. */
  close() {
    this.closed = true;
    this.abort.abort();
  }

  /** Close when what was sent has left; the server ends the session. */
  leave() {
    this.close();
  }
}

class WebSocketTransport extends Transport {
  /** @type {WebSocket} */
  #socket;

  /** @param {Link} link */
  constructor(link) {
    super('websocket', link);
    const url = link.address('ws', link.resume());
    url.protocol = url.protocol.replace('http', 'ws');
    this.#socket = new WebSocket(url, link.token === null ? [] : ['rtpush', `bearer.${link.token}`]);
    this.#socket.onmessage = ({ data }) => this.receive([parse(data)]);
    const lost = (/** @type {number} */ code, /** @type {string} */ reason) => this.closeWith(code, reason || 'the connection was lost');
    this.#socket.onclose = ({ code, reason }) => lost(code, reason);
    // Node fires no `close` when the server refuses; a browser fires it right behind, and it knows the code.
    this.#socket.onerror = () => setTimeout(lost, 0, 1006, '');
  }

  /** @param {string[]} texts */
  send(texts) {
    for (const text of texts) this.#socket.send(text);
  }

  close() {
    super.close();
    this.#socket.close();
  }
}

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
    const { token, credentials } = this.link;
    // A firewall may refuse a body of any other type.
    const type = options && { 'content-type': 'application/json' };
    try {
      return await fetch(address, { signal: this.abort.signal, ...options, headers: { ...headersOf(token), ...type }, credentials, cache: 'no-store' });
    } catch {
      this.closeWith(1006, 'the server cannot be reached');
      return null;
    }
  }

  /** Close, because of an answer that is not the one expected. @param {Answer} answer */
  refuse({ status, error, retryAfter }) {
    const final = [400, 401, 403].includes(status) && REFUSES_CLIENT.test(error?.code ?? '');
    this.closeWith(final ? 4000 + status : 1006, error?.message ?? `HTTP ${status}, and not from rtpush`, retryAfter);
  }
}

class SseTransport extends HttpTransport {
  /** Milliseconds without a byte until the stream counts as dead; 0 until the `connect` envelope has come. */
  #idleTimeout = 0;
  /** @type {any} */
  #idleTimer;

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
    const response = await this.request(this.link.address('sse', this.link.resume()));
    if (response === null) return;
    if (!response.ok) return this.refuse(await answerOf(response));
    await this.#read(/** @type {ReadableStream} */ (response.body)).catch(() => {});
    this.closeWith(1006, 'the stream ended');
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return;
      this.#restartIdleTimer();
      const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = /** @type {string} */ (blocks.pop());
      this.receive(blocks.map((block) => parse(dataOf(block))));
    }
  }

  #restartIdleTimer() {
    clearTimeout(this.#idleTimer);
    if (this.#idleTimeout > 0 && !this.closed) this.#idleTimer = setTimeout(() => this.closeWith(1006, PING_TIMEOUT), this.#idleTimeout);
  }
}

class PollTransport extends HttpTransport {
  /** @param {Link} link */
  constructor(link) {
    super('poll', link);
    this.#run();
  }

  async #run() {
    while (!this.closed) {
      const resume = this.link.resume();
      const sid = this.sid ?? resume.sid ?? NEW_SESSION;
      // The first answer shows whether the transport works, so the server must not hold it.
      const answer = await this.json(this.link.address('poll', { ...resume, sid, timeout: this.sid === null ? '0' : null }), POLL_TIMEOUT);
      if (answer === null || this.closed) return;
      if (answer.status === 429 && this.sid !== null) {
        await pause(answer);
        continue;
      }
      const events = answer.body?.events;
      if (!Array.isArray(events)) return this.refuse(answer);
      // The server sends no `connect` envelope for a session that still lives.
      if (this.sid === null && events[0]?.event !== 'connect') {
        events.unshift({ event: 'connect', data: { sid, recovered: events[0]?.event !== 'resync' } });
      }
      this.receive(events);
      if (!this.closed) this.link.advance(answer.body.last);
      // A server that answers at once, with nothing, must not be polled in a tight loop.
      if (events.length === 0) await new Promise((done) => setTimeout(done, EMPTY_POLL_DELAY));
    }
  }
}

/** @type {Record<TransportName, new (link: Link) => Transport>} */
const CLASSES = { websocket: WebSocketTransport, sse: SseTransport, poll: PollTransport };

/**
 * @param {TransportName} name
 * @param {Link} link
 * @returns {Transport}
 * @throws {SyntaxError} when a WebSocket subprotocol cannot carry the token
 */
export function openTransport(name, link) {
  return new CLASSES[name](link);
}

/** @param {Response} response @returns {Promise<Answer>} */
async function answerOf(response) {
  const { status, headers } = response;
  const body = await response.json().catch(() => null);
  const error = typeof body?.error?.code === 'string' ? body.error : undefined;
  return { status, body, error, retryAfter: error?.retry_after ?? (Number(headers.get('retry-after')) || undefined) };
}

/** Wait as long as a 429 asks for. @param {Answer} answer */
function pause({ retryAfter = RATE_LIMIT_DELAY }) {
  return new Promise((done) => setTimeout(done, 1000 * Math.min(retryAfter, POLL_TIMEOUT / 1000)));
}

/** The data of one event of a stream (WHATWG HTML, 9.2.6). @param {string} block */
function dataOf(block) {
  const lines = block.split('\n').filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.slice(5)).join('\n');
}

/** Text that is no JSON becomes null, which `receive` ignores. @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
