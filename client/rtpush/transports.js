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
 */

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
// Characters of one POST, far below a server's default limit; a single envelope may be longer.
const POST_CHARACTERS = 1 << 20;
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
 * @property {(path: string, query: Record<string, string|null>) => URL} address
 * @property {() => Record<string, string|null>} resume the query parameters `last` and `sid`, by which the server resumes the session
 * @property {string|null} token
 * @property {RequestCredentials} credentials
 * @property {(transport: Transport, envelope: Envelope) => void} receive
 * @property {(position: string) => void} advance move the cursor to the position that a long-poll answer names
 * @property {(transport: Transport, details: CloseDetails) => void} closed
 */

/** @typedef {'websocket'|'sse'|'poll'} TransportName */

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
    this.#socket.onclose = ({ code, reason }) => this.closeWith(code, reason || 'the connection was lost');
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
      if (SKIPS_QUEUE.test(text)) this.#post(`[${text}]`);
      else this.#sendQueue.push(text);
    }
    this.#sendAll();
  }

  async #sendAll() {
    if (this.#sending || this.sid === null) return;
    this.#sending = true;
    while (this.#sendQueue.length > 0 && !this.closed) await this.#post(this.#nextBatch());
    this.#sending = false;
  }

  /** @param {string} body */
  async #post(body) {
    const answer = await this.json('poll', { sid: this.sid }, POST_TIMEOUT, { method: 'POST', body });
    if (Array.isArray(answer)) this.receive(answer);
  }

  #nextBatch() {
    let size = 0;
    const end = this.#sendQueue.findIndex((text, index) => {
      size += text.length;
      return index === POST_BATCH || (index > 0 && size > POST_CHARACTERS);
    });
    return this.#sendQueue.splice(0, end < 0 ? POST_BATCH : end).join('\n');
  }

  /**
   * @param {string} path
   * @param {Record<string, string|null>} query
   * @param {number} timeout milliseconds
   * @param {RequestInit} [options]
   * @returns {Promise<any>} the answer; null when there is none, and the transport has closed
   */
  async json(path, query, timeout, options) {
    const timer = setTimeout(() => this.closeWith(1006, 'no answer in time'), timeout);
    const answer = await this.request(path, query, (response) => response.json(), options);
    clearTimeout(timer);
    return answer;
  }

  /**
   * One request; any failure of it closes the transport.
   *
   * @param {string} path
   * @param {Record<string, string|null>} query
   * @param {(response: Response) => Promise<any>} read
   * @param {RequestInit} [options]
   */
  async request(path, query, read, options) {
    const { address, token, credentials } = this.link;
    try {
      const response = await fetch(address(path, query), { ...options, headers: headersOf(token), credentials, cache: 'no-store', signal: this.abort.signal });
      if (response.ok) return await read(response);
      const { error } = await response.json().catch(() => ({}));
      this.closeWith(closeCodeOf(response.status), error?.message ?? `HTTP ${response.status}`, error?.retry_after);
    } catch {
      this.closeWith(1006, 'the server cannot be reached');
    }
    return null;
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
    await this.request('sse', this.link.resume(), (response) => this.#read(/** @type {ReadableStream} */ (response.body)));
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
      const answer = await this.json('poll', { ...resume, sid, timeout: this.sid === null ? '0' : null }, POLL_TIMEOUT);
      if (answer === null || this.closed) return;
      const events = Array.isArray(answer.events) ? answer.events : [];
      // The server sends no `connect` envelope for a session that still lives.
      if (this.sid === null && events[0]?.event !== 'connect') {
        events.unshift({ event: 'connect', data: { sid, recovered: events[0]?.event !== 'resync' } });
      }
      this.receive(events);
      if (!this.closed) this.link.advance(answer.last);
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

/** The protocol's close code that means the same as an HTTP status. @param {number} status */
function closeCodeOf(status) {
  if (status === 413) return 1009;
  return [400, 401, 403].includes(status) ? 4000 + status : 1006;
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
