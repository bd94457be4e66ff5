/**
 * Three wires of one shape: WebSocket, Server-Sent Events, long-poll.
 *
 * Rules that hold here:
 * - A wire starts at once. Envelopes go to `link.receive`; an end that its owner
 *   did not ask for goes to `link.ended`, once.
 * - After `close()` a wire is silent: nothing of the link is called again.
 * - The owner calls `greeted` when the connect envelope has come; what is sent
 *   over HTTP waits for that.
 * - A token travels in a header or a subprotocol, never in an address, where
 *   logs would keep it. EventSource can send no header, so SSE is a `fetch`.
 */

/** The reason of an end, in Socket.IO's words. */
export const PING_TIMEOUT = 'ping timeout';

const POLL_PATIENCE = 45_000;
// A POST is answered when the application's handlers have done their work.
const POST_PATIENCE = 120_000;
// A reply and a ping: what was said before may be waiting for just these.
const AT_ONCE = /^{"(ack|event":"ping)"/;
const POST_BATCH = 64;
// Of one POST, far below what a server takes by default; a single envelope may be longer.
const POST_CHARACTERS = 1 << 20;
const EMPTY_PAUSE = 200;
// A sid that no server knows: asks for a session, where no sid at all asks for one read only.
const NEW_SESSION = 'new';
// No log has this position: a read at it is answered with a snapshot.
const NOWHERE = 'none-0';

/** One envelope, as PROTOCOL.md describes it. Nothing about it can be trusted.
 * @typedef {{event?: any, data?: any, id?: any, room?: any, key?: any, ack?: any, error?: any}} Envelope */

/** Why a wire ended. `code` is the close code of the protocol.
 * @typedef {{code: number, message: string, retryAfter?: number}} End */

/**
 * @typedef {object} Link
 * @property {(path: string, query: Record<string, string|null>) => URL} address
 * @property {() => Record<string, string|null>} place where the reader is: `last` and `sid`
 * @property {string|null} token
 * @property {RequestCredentials} credentials
 * @property {(wire: Wire, envelope: Envelope) => void} receive
 * @property {(position: string) => void} advance the cursor that a long-poll answer names
 * @property {(wire: Wire, end: End) => void} ended
 */

/** @typedef {'websocket'|'sse'|'poll'} Kind */

/** Each room, and the token that it is entered with if it needs one of its own.
 * @typedef {Map<string, string|undefined>} Rooms */

export class Wire {
  closed = false;
  /** @type {string|null} */
  sid = null;
  abort = new AbortController();
  /** What the server has said ahead of a close, which has room for a code only. @type {any} */
  why;

  /**
   * @param {Kind} kind
   * @param {Link} link
   */
  constructor(kind, link) {
    this.kind = kind;
    this.link = link;
  }

  /**
   * @param {string} sid
   * @param {number} _heartbeat seconds between two signs of life
   */
  greeted(sid, _heartbeat) {
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
   * @param {number} code
   * @param {string} message
   * @param {number} [retryAfter] seconds
   */
  end(code, message, retryAfter) {
    if (this.closed) return;
    this.close();
    this.link.ended(this, { code, message: String(this.why?.message ?? message), retryAfter: this.why?.retry_after ?? retryAfter });
  }

  close() {
    this.closed = true;
    this.abort.abort();
  }
}

class WebSocketWire extends Wire {
  /** @type {WebSocket} */
  #socket;

  /** @param {Link} link */
  constructor(link) {
    super('websocket', link);
    const url = link.address('ws', link.place());
    url.protocol = url.protocol.replace('http', 'ws');
    this.#socket = new WebSocket(url, link.token === null ? [] : ['rtpush', `bearer.${link.token}`]);
    this.#socket.onmessage = ({ data }) => this.receive([parse(data)]);
    this.#socket.onclose = ({ code, reason }) => this.end(code, reason || 'the connection was lost');
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

/** Sending for the wires that can only receive: one POST of events at a time, so order holds. */
class HttpWire extends Wire {
  /** @type {string[]} */
  #queue = [];
  #busy = false;

  /**
   * @param {string} sid
   * @param {number} heartbeat
   */
  greeted(sid, heartbeat) {
    super.greeted(sid, heartbeat);
    this.#pump();
  }

  /** @param {string[]} texts */
  send(texts) {
    for (const text of texts) {
      if (AT_ONCE.test(text)) this.#post(`[${text}]`);
      else this.#queue.push(text);
    }
    this.#pump();
  }

  async #pump() {
    if (this.#busy || this.sid === null) return;
    this.#busy = true;
    while (this.#queue.length > 0 && !this.closed) await this.#post(this.#batch());
    this.#busy = false;
  }

  /** @param {string} body */
  async #post(body) {
    const answer = await this.json('poll', { sid: this.sid }, POST_PATIENCE, { method: 'POST', body });
    if (Array.isArray(answer)) this.receive(answer);
  }

  #batch() {
    let size = 0;
    const end = this.#queue.findIndex((text, index) => {
      size += text.length;
      return index === POST_BATCH || (index > 0 && size > POST_CHARACTERS);
    });
    return `[${this.#queue.splice(0, end < 0 ? POST_BATCH : end).join()}]`;
  }

  /**
   * @param {string} path
   * @param {Record<string, string|null>} query
   * @param {number} patience milliseconds
   * @param {RequestInit} [options]
   * @returns {Promise<any>} the answer; null when there is none, and the wire has ended
   */
  async json(path, query, patience, options) {
    const timer = setTimeout(() => this.end(1006, 'no answer in time'), patience);
    const answer = await this.request(path, query, (response) => response.json(), options);
    clearTimeout(timer);
    return answer;
  }

  /**
   * One request; whatever goes wrong with it ends the wire.
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
      this.end(closeCodeOf(response.status), error?.message ?? `HTTP ${response.status}`, error?.retry_after);
    } catch {
      this.end(1006, 'the server cannot be reached');
    }
    return null;
  }
}

class SseWire extends HttpWire {
  #silence = 0;
  /** @type {any} */
  #timer;

  /** @param {Link} link */
  constructor(link) {
    super('sse', link);
    this.#run();
  }

  /**
   * @param {string} sid
   * @param {number} heartbeat
   */
  greeted(sid, heartbeat) {
    super.greeted(sid, heartbeat);
    this.#silence = heartbeat * 2000 + 1000;
    this.#heard();
  }

  close() {
    super.close();
    clearTimeout(this.#timer);
  }

  async #run() {
    await this.request('sse', this.link.place(), (response) => this.#read(/** @type {ReadableStream} */ (response.body)));
    this.end(1006, 'the stream ended');
  }

  /** @param {ReadableStream<Uint8Array>} body */
  async #read(body) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done || this.closed) return;
      this.#heard();
      const blocks = (rest + decoder.decode(value, { stream: true })).split('\n\n');
      rest = /** @type {string} */ (blocks.pop());
      this.receive(blocks.map((block) => parse(dataOf(block))));
    }
  }

  #heard() {
    clearTimeout(this.#timer);
    if (this.#silence > 0 && !this.closed) this.#timer = setTimeout(() => this.end(1006, PING_TIMEOUT), this.#silence);
  }
}

class PollWire extends HttpWire {
  /** @param {Link} link */
  constructor(link) {
    super('poll', link);
    this.#run();
  }

  async #run() {
    while (!this.closed) {
      const place = this.link.place();
      const sid = this.sid ?? place.sid ?? NEW_SESSION;
      // The first answer is a greeting: it must come at once.
      const answer = await this.json('poll', { ...place, sid, timeout: this.sid === null ? '0' : null }, POLL_PATIENCE);
      if (answer === null || this.closed) return;
      const events = Array.isArray(answer.events) ? answer.events : [];
      // A session that lives still is gone on with, and not greeted again.
      if (this.sid === null && events[0]?.event !== 'connect') {
        events.unshift({ event: 'connect', data: { sid, recovered: events[0]?.event !== 'resync' } });
      }
      this.receive(events);
      if (!this.closed) this.link.advance(answer.last);
      // A server that answers nothing at once must not be asked in a tight loop.
      if (events.length === 0) await new Promise((resume) => setTimeout(resume, EMPTY_PAUSE));
    }
  }
}

/** @type {Record<Kind, new (link: Link) => Wire>} */
const WIRES = { websocket: WebSocketWire, sse: SseWire, poll: PollWire };

/**
 * @param {{base: string, query: Array<Array<string|null>>}} server
 * @param {string} path
 * @param {Iterable<string>} rooms
 * @param {Record<string, string|null>} query
 */
export function addressOf(server, path, rooms, query) {
  const url = new URL(path, server.base);
  const all = [...server.query, ...[...rooms].map((room) => ['room', room]), ...Object.entries(query)];
  for (const [name, value] of all) {
    if (value !== null) url.searchParams.append(/** @type {string} */ (name), value);
  }
  return url;
}

/** The rooms that an address may name; those of a token are joined. @param {Rooms} rooms */
export function openRooms(rooms) {
  return [...rooms].filter(([, token]) => token === undefined).map(([room]) => room);
}

/** @param {string|null} token @returns {Record<string, string>} */
function headersOf(token) {
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

/**
 * One read of the log, without any session.
 *
 * @param {{base: string, query: Array<Array<string|null>>, credentials: RequestCredentials}} server
 * @param {string|null} token
 * @param {Iterable<string>} rooms
 * @param {string|null} last null: a snapshot of the tasks instead
 * @returns {Promise<{events: Envelope[], last: string}|null>} null when it is refused
 */
export async function readAt(server, token, rooms, last) {
  const url = addressOf(server, 'poll', rooms, { last: last ?? NOWHERE, timeout: '0' });
  const response = await fetch(url, { headers: headersOf(token), credentials: server.credentials, cache: 'no-store' });
  if (!response.ok) return null;
  const answer = await response.json();
  // Asked for on purpose, it is no news that there is nothing at that position.
  if (last === null) answer.events = answer.events.filter((/** @type {Envelope} */ { event }) => event !== 'resync');
  return answer;
}

/**
 * @param {Kind} kind
 * @param {Link} link
 */
export function openWire(kind, link) {
  return new WIRES[kind](link);
}

/** Of the protocol's close codes the one that means what the status does. @param {number} status */
function closeCodeOf(status) {
  if (status === 413) return 1009;
  return [400, 401, 403].includes(status) ? 4000 + status : 1006;
}

/** The data of one event of a stream (WHATWG HTML, 9.2.6). @param {string} block */
function dataOf(block) {
  const lines = block.split('\n').filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.slice(5)).join('\n');
}

/** What is no JSON becomes null, which no receiver looks at. @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
