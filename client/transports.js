/**
 * Three wires of one shape: WebSocket, Server-Sent Events, long-poll.
 *
 * Rules that hold here:
 * - `openWire(kind, link)` starts at once. Envelopes go to `link.onEnvelope`; an
 *   end that the caller did not ask for goes to `link.onClose`, once.
 * - After `close()` a wire is silent: neither callback is called again.
 * - The owner calls `identify(sid)` when the connect envelope names it; what is
 *   sent over HTTP waits for that.
 * - URLs are relative to the page, so that a reverse proxy may mount the server
 *   below any path. Nothing here ever talks to another origin.
 */

const POLL_PATIENCE = 45_000;
const POST_PATIENCE = 10_000;
const POST_BATCH = 64;
const EMPTY_PAUSE = 200;
// A sid that no server knows: asks for a session, where no sid at all asks for one read only.
const NEW_SESSION = 'new';

/**
 * @typedef {object} Link
 * @property {() => string|null} last  the position to read from, asked anew for each request
 * @property {(envelope: object) => void} onEnvelope
 * @property {(last: string) => void} onPosition  the cursor named by a long-poll answer
 * @property {(end: {code: number, reason: string, retryAfter?: number}) => void} onClose
 */

/** @typedef {{kind: string, identify(sid: string): void,
 *   watch(seconds: number): void, send(envelopes: object[]): void, close(): void,
 *   end(code: number, reason: string, retryAfter?: number): void}} Wire */

/**
 * @param {'websocket'|'sse'|'poll'} kind
 * @param {Link} link
 * @returns {Wire}
 */
export function openWire(kind, link) {
  return new WIRES[kind](kind, link);
}

function endpoint(path, query) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null) url.searchParams.set(name, value);
  }
  return url;
}

/** What is no JSON becomes null, which no receiver looks at. */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

class BaseWire {
  closed = false;
  sid = null;

  constructor(kind, link) {
    this.kind = kind;
    this.link = link;
  }

  identify(sid) {
    this.sid = sid;
  }

  /** Wires that cannot ask "are you there?" are told how often to expect a sign of life. */
  watch() {}

  receive(text) {
    this.receiveAll([parse(text)]);
  }

  receiveAll(envelopes) {
    for (const envelope of envelopes) {
      if (!this.closed && typeof envelope === 'object' && envelope !== null) this.link.onEnvelope(envelope);
    }
  }

  end(code, reason, retryAfter) {
    if (this.closed) return;
    this.close();
    this.link.onClose({ code, reason, retryAfter });
  }

  close() {
    this.closed = true;
  }
}

class WebSocketWire extends BaseWire {
  #socket;

  constructor(kind, link) {
    super(kind, link);
    const url = endpoint('ws', { last: link.last() });
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    this.#socket = new WebSocket(url);
    this.#socket.onmessage = (message) => this.receive(message.data);
    this.#socket.onclose = (event) => this.end(event.code, event.reason);
  }

  send(envelopes) {
    for (const envelope of envelopes) this.#socket.send(JSON.stringify(envelope));
  }

  close() {
    super.close();
    this.#socket.close();
  }
}

/** Sending for the wires that can only receive: one POST at a time, so order holds. */
class PostingWire extends BaseWire {
  #queue = [];
  #busy = false;
  abort = new AbortController();

  identify(sid) {
    super.identify(sid);
    this.#pump();
  }

  send(envelopes) {
    this.#queue.push(...envelopes);
    this.#pump();
  }

  close() {
    super.close();
    this.abort.abort();
  }

  async #pump() {
    if (this.#busy || this.closed || this.sid === null) return;
    this.#busy = true;
    while (this.#queue.length > 0 && !this.closed) {
      await this.#post(this.#queue.splice(0, POST_BATCH));
    }
    this.#busy = false;
  }

  async #post(envelopes) {
    const answer = await this.request('poll', { sid: this.sid }, POST_PATIENCE, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(envelopes),
    });
    if (Array.isArray(answer)) this.receiveAll(answer);
  }

  /** One request; whatever goes wrong with it ends the wire, and the answer is null. */
  async request(path, query, patience, options = {}) {
    const timer = setTimeout(() => this.end(1006, 'timeout'), patience);
    try {
      const response = await fetch(endpoint(path, query), {
        ...options, cache: 'no-store', signal: this.abort.signal,
      });
      const body = await response.json();
      if (response.ok) return body;
      this.#refused(response.status, body?.error);
    } catch {
      this.end(1006, 'unreachable');
    } finally {
      clearTimeout(timer);
    }
    return null;
  }

  #refused(status, error) {
    const code = status === 401 || status === 403 ? 4000 + status : 1006;
    this.end(code, String(error?.message ?? status), error?.retry_after);
  }
}

class SseWire extends PostingWire {
  #source;
  #silence = null;
  #timer = null;

  constructor(kind, link) {
    super(kind, link);
    this.#source = new EventSource(endpoint('sse', { last: link.last() }));
    this.#source.onmessage = (message) => {
      this.#heard();
      this.receive(message.data);
    };
    // The browser's own reconnecting knows neither our backoff nor our position.
    this.#source.onerror = () => this.end(1006, 'stream ended');
  }

  watch(seconds) {
    this.#silence = seconds * 2000 + 1000;
    this.#heard();
  }

  close() {
    super.close();
    clearTimeout(this.#timer);
    this.#source.close();
  }

  #heard() {
    clearTimeout(this.#timer);
    if (this.#silence !== null && !this.closed) {
      this.#timer = setTimeout(() => this.end(1006, 'silence'), this.#silence);
    }
  }
}

class PollWire extends PostingWire {
  constructor(kind, link) {
    super(kind, link);
    this.#run();
  }

  async #run() {
    while (!this.closed) {
      const query = { sid: this.sid ?? NEW_SESSION, last: this.link.last() };
      const answer = await this.request('poll', query, POLL_PATIENCE);
      if (answer === null || this.closed) return;
      const events = Array.isArray(answer.events) ? answer.events : [];
      this.receiveAll(events);
      if (!this.closed && typeof answer.last === 'string') this.link.onPosition(answer.last);
      // A server that answers nothing at once must not be asked in a tight loop.
      if (events.length === 0) await new Promise((resume) => setTimeout(resume, EMPTY_PAUSE));
    }
  }
}

const WIRES = { websocket: WebSocketWire, sse: SseWire, poll: PollWire };
