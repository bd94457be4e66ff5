/**
 * Opens the transports, by their names.
 */

import { PollTransport, SseTransport } from './http_transports.js';
import { WebSocketTransport } from './websocket_transport.js';

/** @typedef {import('./transports.js').Link} Link */
/** @typedef {import('./transports.js').Transport} Transport */
/** @typedef {import('./transports.js').TransportName} TransportName */

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
