/**
 * @param {TransportName} name
 * @param {Link} link
 * @returns {Transport}
 * @throws {SyntaxError} when a WebSocket subprotocol cannot carry the token
 */
export function openTransport(name: TransportName, link: Link): Transport;
export type Link = import("./transports.js").Link;
export type Transport = import("./transports.js").Transport;
export type TransportName = import("./transports.js").TransportName;
