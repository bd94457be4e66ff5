/**
 * What is said while the browser puts the page away.
 *
 * Rules that hold here:
 * - The page says goodbye also when it has nothing else to say: without a WebSocket no close
 *   frame tells that it was left. A page that comes back goes on with its session.
 * - No connection outlives the page, so each message goes by a POST that does. The
 *   server goes on with the session for it (PROTOCOL.md, section 4).
 * - A browser takes 64 KiB of such requests together.
 */

import { headersOf } from './credentials.js';
import { byteLength } from './encoding.js';
import { addressOf } from './endpoint.js';

// Bytes of one POST.
const MAX_BYTES = 60_000;

/**
 * @param {import('./options.js').Options} options
 * @param {{sid: string|null, cursor: import('./cursor.js').Cursor}} session
 * @param {import('./credentials.js').Credentials} credentials
 * @param {boolean} [goodbye] whether to say that the page is left
 */
export function partingOf(options, { sid, cursor }, credentials, goodbye = false) {
  const parting = new Parting(addressOf(options, 'poll', [], { sid, last: cursor.last, close: goodbye ? 'away' : null }), credentials, options.cookies);
  if (goodbye) parting.send([]);
  return parting;
}

export class Parting {
  #address;
  #options;
  /** What the handler that runs has said. @type {string[]} */
  #texts = [];
  #waits = false;

  /**
   * @param {URL} address
   * @param {import('./credentials.js').Credentials} credentials
   * @param {RequestCredentials} cookies whether a request to another origin carries them
   */
  constructor(address, credentials, cookies) {
    this.#address = address;
    this.#options = { method: 'POST', keepalive: true, headers: { ...headersOf(credentials), 'content-type': 'application/json' }, credentials: cookies };
  }

  /** @param {string[]} texts envelopes as JSON */
  send(texts) {
    if (!this.#waits) queueMicrotask(() => this.#post());
    this.#waits = true;
    this.#texts.push(...texts);
  }

  #post() {
    this.#waits = false;
    let size = 0;
    const fits = (/** @type {string} */ text) => (size += byteLength(text) + 1) < MAX_BYTES;
    const body = this.#texts.splice(0).filter(fits).join('\n');
    fetch(this.#address, { ...this.#options, body }).catch(() => {});
  }
}
