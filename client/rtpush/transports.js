/**
 * What every transport is: WebSocket, Server-Sent Events and long-poll have one interface.
 *
 * Rules that hold here:
 * - A transport connects when it is constructed. It gives envelopes to
 *   `link.receive`, and tells `link.closed` once when it closes without being asked.
 * - After `close()` a transport calls nothing of the link again.
 * - The connection calls `connected` when the `connect` envelope has come. Until
 *   then HTTP transports hold their send queue.
 * - Credentials travel in a header or a WebSocket subprotocol, never in an address,
 *   which servers and proxies log.
 */

/** The message of a close for want of an answer, as Socket.IO words it. */
export const PING_TIMEOUT = 'ping timeout';

/** One envelope, as PROTOCOL.md describes it. The client trusts no field of it.
 * @typedef {{event?: any, data?: any, args?: any, id?: any, room?: any, key?: any, retain?: any, retained?: any, rewound?: any, ack?: any, error?: any}} Envelope */

/** Why a transport closed: the protocol's close code, and the seconds that the
 * server asks the client to wait.
 * @typedef {{code: number, message: string, retryAfter?: number}} CloseDetails */

/** What a connection gives to a transport.
 * @typedef {object} Link
 * @property {(path: string, defaults?: Record<string, string|null>) => URL} openAddress of the first request
 * @property {(query: Record<string, string|null>) => URL} readAddress of the later reads of a long-poll
 * @property {(query: Record<string, string|null>) => URL} postAddress
 * @property {string|null} sid the session to go on with
 * @property {import('./credentials.js').Credentials} credentials
 * @property {{cookies: RequestCredentials, WebSocket: any}} options
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
  /** When something arrived on the connection itself, by `performance.now`; of a long-poll, when its read began. */
  heardAt = performance.now();
  /** Whether something has arrived since this was last set to false. */
  arriving = false;
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
    this.close(code);
    this.link.closed(this, { code, message: String(this.error?.message ?? message), retryAfter: this.error?.retry_after ?? retryAfter });
  }

  /** Close, and tell nobody. @param {number} [_code] 1001 when the page is left */
  close(_code) {
    this.closed = true;
    this.abort.abort();
  }

  /** Close when what was sent has left; the server ends the session. */
  leave() {
    this.close();
  }
}

/** Whether the client must not reconnect by itself. @param {CloseDetails} details @returns {boolean} */
export function isFinal(details) {
  return details.code >= 4000 && details.code < 4500;
}

/** Socket.IO's name for a close. @param {CloseDetails} details */
export function reasonOf(details) {
  if (details.message === PING_TIMEOUT) return details.message;
  return details.code === 1006 ? 'transport error' : 'transport close';
}

/** Text that is no JSON becomes null, which `receive` ignores. @param {string} text */
export function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
