/**
 * rtpush in the browser and in Node: `io(url, options)`.
 *
 * It implements PROTOCOL.md over WebSocket, Server-Sent Events and long-poll, with
 * the interface of socket.io-client 4. No dependency, no build step.
 */

import { Manager } from './rtpush/manager.js';
import { Socket } from './rtpush/socket.js';

/** The version of the protocol. */
export const protocol = 1;

/**
 * Connect to a server: the page's own, or the one at an address.
 *
 * @param {string | import('./rtpush/options.js').UserOptions} [address] such as https://push.example
 * @param {import('./rtpush/options.js').UserOptions} [options]
 * @returns {Socket} which fires `connect_error` when it cannot connect, whatever the reason
 */
export function io(address = '', options = {}) {
  if (typeof address === 'object') return new Socket('', address);
  return new Socket(address, options);
}

export { io as connect, io as default, Manager, Socket };
