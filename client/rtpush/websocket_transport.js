/**
 * WebSocket: envelopes in frames, both ways.
 */

import { protocolsOf } from './credentials.js';
import { Transport, parse } from './transports.js';

/** @typedef {import('./transports.js').Link} Link */

export class WebSocketTransport extends Transport {
  /** @type {WebSocket} */
  #socket;

  /** @param {Link} link */
  constructor(link) {
    super('websocket', link);
    const url = link.openAddress('ws');
    url.protocol = url.protocol.replace('http', 'ws');
    this.#socket = make(link, url, protocolsOf(link.credentials));
    this.#socket.onmessage = ({ data }) => {
      this.heardAt = performance.now();
      this.receive([parse(data)]);
    };
    const lost = (/** @type {number} */ code, /** @type {string} */ reason) => this.closeWith(code, reason || 'the connection was lost');
    this.#socket.onclose = ({ code, reason }) => lost(code, reason);
    // Node fires no `close` when the server refuses; a browser fires it right behind, and it knows the code.
    this.#socket.onerror = () => setTimeout(lost, 0, 1006, '');
  }

  /** @param {string[]} texts */
  send(texts) {
    for (const text of texts) this.#socket.send(text);
  }

  /** @param {number} [code] */
  close(code) {
    super.close();
    // A script cannot send 1001.
    this.#socket.close(code === 1001 ? 4001 : 1000);
  }
}

/**
 * @param {Link} link
 * @param {URL} url
 * @param {string[]} protocols
 * @returns {WebSocket}
 */
function make({ options, credentials: { extra } }, url, protocols) {
  // The build for browsers leaves this out: there a WebSocket takes no headers.
  if (/** @type {any} */ (globalThis).process && extra) {
    // Node's class takes them in its second argument, that of `ws` in its third.
    const both = options.WebSocket === globalThis.WebSocket ? { protocols, headers: extra } : protocols;
    return new options.WebSocket(url, both, { headers: extra });
  }
  return new options.WebSocket(url, protocols);
}
