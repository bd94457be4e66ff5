/**
 * Connect to a server: the page's own, or the one at an address.
 *
 * @param {string | import('./rtpush/options.js').UserOptions} [address] such as https://push.example
 * @param {import('./rtpush/options.js').UserOptions} [options]
 * @returns {Socket} which fires `connect_error` when it cannot connect, whatever the reason
 */
export function io(address?: string | import("./rtpush/options.js").UserOptions, options?: import("./rtpush/options.js").UserOptions): Socket;
/** The version of the protocol. */
export const protocol: 1;
import { Socket } from './rtpush/socket.js';
import { Manager } from './rtpush/manager.js';
export { io as connect, io as default, Manager, Socket };
