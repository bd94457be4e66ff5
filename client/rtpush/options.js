/**
 * The options of `io(url, options)`.
 *
 * Rules that hold here:
 * - The names, defaults and units (milliseconds) are those of Socket.IO's client.
 * - An option that has no meaning here gives one warning. An address or transports
 *   that could never connect raise no error, as in Socket.IO: the socket fires
 *   `connect_error` and is not active any more.
 */

/** @typedef {import('./transports.js').TransportName} TransportName */

/** @typedef {import('./credentials.js').Auth} Auth */

/**
 * @typedef {OwnOptions & {[Name in IgnoredOption]?: any}} UserOptions
 */

/**
 * Socket.IO's options without a meaning here.
 *
 * @typedef {'multiplex'|'upgrade'|'rememberUpgrade'|'tryAllTransports'|'forceBase64'|'timestampRequests'|'timestampParam'
 *   |'addTrailingSlash'|'closeOnBeforeunload'|'useNativeTimers'|'transportOptions'|'protocols'|'parser'
 *   |'autoUnref'|'requestTimeout'|'perMessageDeflate'|'secure'|'host'|'hostname'|'port'|'agent'|'ca'|'cert'|'ciphers'
 *   |'key'|'passphrase'|'pfx'|'rejectUnauthorized'} IgnoredOption
 */

/**
 * @typedef {object} OwnOptions
 * @property {Array<'websocket'|'sse'|'poll'|'polling'|'webtransport'>} [transports]
 * @property {boolean} [reconnection] whether to reconnect; true by default
 * @property {number} [reconnectionAttempts] without a limit by default
 * @property {number} [reconnectionDelay] milliseconds before the first attempt to reconnect, doubled each time; 1000 by default
 * @property {number} [reconnectionDelayMax] milliseconds; 5000 by default
 * @property {number} [randomizationFactor] part of the delay by which it varies, from 0 to 1; 0.5 by default
 * @property {number} [timeout] milliseconds for one attempt to connect; 20,000 by default
 * @property {Auth} [auth]
 * @property {Record<string, string>|string} [query] added to every address
 * @property {string} [path] where the server is mounted
 * @property {boolean} [autoConnect] whether `io` connects; true by default
 * @property {number} [ackTimeout] milliseconds after which the client sends an unanswered event again; never by default
 * @property {number} [retries] how often the client sends an unanswered event again; 5 by default
 * @property {boolean} [withCredentials] whether to send cookies to another origin
 * @property {Record<string, string>} [extraHeaders] of each request; browsers send none with a WebSocket
 * @property {any} [WebSocket] the class to use where there is no global one, such as that of `ws` in Node 20
 * @property {boolean} [forceNew] always so here
 * @property {boolean} [shared] one connection for all tabs
 * @property {string|null} [last] the position to resume from, as `socket.position` gave it
 */

/**
 * @typedef {object} Options
 * @property {string} base the server's address, with a slash at its end
 * @property {Array<Array<string|null>>} query
 * @property {TransportName[]} transports best first
 * @property {RequestCredentials} cookies whether requests to another origin carry them
 * @property {boolean} renewable whether the application can give another token
 * @property {boolean} reconnection
 * @property {number} reconnectionAttempts
 * @property {number} reconnectionDelay milliseconds
 * @property {number} reconnectionDelayMax milliseconds
 * @property {number} randomizationFactor
 * @property {number} timeout milliseconds
 * @property {number} ackTimeout milliseconds
 * @property {number} retries
 * @property {boolean} errorFirst whether every callback gets `(error, answer)`, as in Socket.IO with `ackTimeout` or `retries`
 * @property {boolean} autoConnect
 * @property {boolean} shared
 * @property {string|null} last
 * @property {any} WebSocket
 * @property {Record<string, string>} [extraHeaders]
 * @property {string} problem why there can be no connection; empty when there can
 */

/** Best first. @type {TransportName[]} */
const TRANSPORTS = ['websocket', 'sse', 'poll'];
const DEFAULTS = {
  reconnection: true,
  reconnectionAttempts: Infinity,
  reconnectionDelay: 1000,
  reconnectionDelayMax: 5000,
  randomizationFactor: 0.5,
  timeout: 20_000,
  ackTimeout: Infinity,
  retries: 5,
  autoConnect: true,
  shared: false,
  last: null,
};
// Milliseconds. A browser fires a longer timer at once.
const MAX_TIMER = 2 ** 31 - 1;
// Options without a default.
const OTHERS = ['transports', 'auth', 'query', 'path', 'withCredentials', 'forceNew', 'extraHeaders', 'WebSocket'];
/** Where the classic script was loaded from: there its server is mounted. @type {{url?: URL}} */
export const origin = {};
const warned = new Set();

/**
 * @param {string} address
 * @param {UserOptions} user
 * @returns {Options}
 */
export function readOptions(address, user) {
  const options = { ...DEFAULTS };
  for (const [name, value] of Object.entries(user)) {
    if (Object.hasOwn(DEFAULTS, name)) {
      if (value !== undefined) Object.assign(options, { [name]: value });
    } else if (!OTHERS.includes(name)) {
      warnOnce(`option "${name}" has no meaning here`);
    }
  }
  if (!address && !page()) {
    // Under server-side rendering this is usual; in the page it connects.
    options.autoConnect = false;
    warnOnce('io() needs an address outside of a page');
  }
  const own = { base: 'http://none/', query: /** @type {string[][]} */ ([]), transports: TRANSPORTS, problem: '' };
  const socketClass = user.WebSocket ?? globalThis.WebSocket;
  try {
    const url = urlOf(address);
    const path = user.path ?? (origin.url?.origin === url.origin ? origin.url.pathname : '');
    own.base = new URL(`${path}/`.replace(/\/+$/, '/'), url).href;
    own.query = [...new URLSearchParams(user.query ?? url.search)];
    own.transports = transportsOf(user.transports ?? TRANSPORTS, socketClass);
  } catch (error) {
    own.problem = `io("${address}"): ${/** @type {Error} */ (error).message}`;
    options.shared = false;
  }
  return {
    ...options,
    ...own,
    WebSocket: socketClass,
    extraHeaders: user.extraHeaders,
    errorFirst: user.ackTimeout !== undefined || Boolean(user.retries),
    timeout: Math.min(options.timeout || Infinity, MAX_TIMER),
    cookies: user.withCredentials ? 'include' : 'same-origin',
    renewable: typeof user.auth === 'function',
  };
}

/** @param {string} text */
export function warnOnce(text) {
  if (warned.has(text)) return;
  warned.add(text);
  console.warn(`rtpush: ${text}`);
}

/** The address of the page; a frame without one of its own, such as `srcdoc`, has that of the page around it. */
function page() {
  const { location, document } = globalThis;
  return [location?.origin, document?.baseURI].find((address) => /^http/.test(address ?? ''));
}

/** @param {string} address */
function urlOf(address) {
  // A host without a scheme, as in Socket.IO: `localhost:5000`.
  const full = /^(\w+:)?\/|^$/.test(address) ? address : `//${address}`;
  const url = new URL(full || '/', page() ?? 'https://none');
  if (url.pathname !== '/') throw new TypeError('there are no namespaces; use rooms, or "path" for a server that is mounted there');
  url.protocol = url.protocol.replace('ws', 'http');
  return url;
}

/**
 * Socket.IO's `polling` stands for long-poll, and for SSE ahead of it.
 *
 * @param {string[]} names
 * @param {any} socketClass
 * @returns {TransportName[]}
 */
function transportsOf(names, socketClass) {
  const wanted = names.flatMap((name) => (name === 'polling' ? ['sse', 'poll'] : [name]));
  if (/** @type {any} */ (globalThis).process && !socketClass && wanted.includes('websocket')) warnOnce('there is no WebSocket here: use Node 22, or give the class of "ws" as the option WebSocket');
  const transports = TRANSPORTS.filter((name) => wanted.includes(name) && (name !== 'websocket' || socketClass));
  if (transports.length === 0) throw new TypeError(`none of the transports [${names}] is there, of ${TRANSPORTS}`);
  return transports;
}
