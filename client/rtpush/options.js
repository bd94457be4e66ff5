/**
 * What `io(url, options)` was called with, in terms of this client.
 *
 * Rules that hold here:
 * - The names, defaults and units (milliseconds) are those of Socket.IO's client.
 * - An option that has no meaning here is accepted and said so once; a mistake
 *   that would connect to nowhere is an error at once.
 */

/** @typedef {import('./wires.js').Kind} Kind */

/** A token, an object that holds one, or a function that gives either: by its
 * return value, a promise, or, as in Socket.IO, by calling its argument.
 * @typedef {string|null|{token?: string}} Credentials */
/** @typedef {Credentials|((done: (auth: any) => void) => any)} Auth */

/**
 * @typedef {object} UserOptions
 * @property {Array<'websocket'|'sse'|'poll'|'polling'|'webtransport'>} [transports]
 * @property {boolean} [reconnection]
 * @property {number} [reconnectionAttempts]
 * @property {number} [reconnectionDelay]
 * @property {number} [reconnectionDelayMax]
 * @property {number} [randomizationFactor]
 * @property {number} [timeout] for one attempt to connect
 * @property {Auth} [auth]
 * @property {Record<string, string>|string} [query]
 * @property {string} [path] where the server is mounted
 * @property {boolean} [autoConnect]
 * @property {number} [ackTimeout] after which an unanswered emit is sent again
 * @property {number} [retries] how often it is
 * @property {boolean} [withCredentials]
 * @property {boolean} [forceNew] always so here
 * @property {boolean} [shared] one connection for all tabs
 * @property {string|null} [last] the position to read on from, as `socket.position` gave it
 */

/**
 * @typedef {object} Options
 * @property {string} base the server's address, with a slash at its end
 * @property {Array<Array<string|null>>} query
 * @property {Kind[]} kinds transports, best first
 * @property {RequestCredentials} credentials
 * @property {boolean} renewable whether another token can be had
 * @property {boolean} reconnection
 * @property {number} reconnectionAttempts
 * @property {number} reconnectionDelay
 * @property {number} reconnectionDelayMax
 * @property {number} randomizationFactor
 * @property {number} timeout
 * @property {number} ackTimeout
 * @property {number} retries
 * @property {boolean} autoConnect
 * @property {boolean} shared
 * @property {string|null} last
 */

/** @type {Kind[]} */
const KINDS = ['websocket', 'sse', 'poll'];
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
// What a browser can time; of anything longer it makes nothing at all.
const LONGEST = 2 ** 31 - 1;
const READ = ['transports', 'auth', 'query', 'path', 'withCredentials', 'forceNew'];
const said = new Set();

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
    } else if (!READ.includes(name)) {
      sayOnce(`option "${name}" has no meaning here`);
    }
  }
  const url = urlOf(address);
  return {
    ...options,
    timeout: Math.min(options.timeout || Infinity, LONGEST),
    base: new URL(`${user.path ?? ''}/`.replace(/\/+$/, '/'), url).href,
    query: [...new URLSearchParams(user.query ?? url.search)],
    kinds: kindsOf(user.transports ?? KINDS),
    credentials: user.withCredentials ? 'include' : 'same-origin',
    renewable: typeof user.auth === 'function',
  };
}

/** @param {string} text */
export function sayOnce(text) {
  if (said.has(text)) return;
  said.add(text);
  console.warn(`rtpush: ${text}`);
}

/** @param {string} address */
function urlOf(address) {
  const page = globalThis.location?.origin;
  if (page === undefined && !address) throw new TypeError('io(url): outside of a page it needs an address');
  const url = new URL(address || '/', page);
  if (url.pathname !== '/') throw new TypeError(`io("${address}"): there are no namespaces; use rooms, or "path" for a server that is mounted there`);
  url.protocol = url.protocol.replace('ws', 'http');
  return url;
}

/**
 * Long-poll is what Socket.IO calls polling, and SSE comes before it.
 *
 * @param {string[]} names
 * @returns {Kind[]}
 */
function kindsOf(names) {
  const wanted = names.flatMap((name) => (name === 'polling' ? ['sse', 'poll'] : [name]));
  const kinds = KINDS.filter((kind) => wanted.includes(kind) && (kind !== 'websocket' || typeof WebSocket === 'function'));
  if (kinds.length === 0) throw new TypeError(`io(): none of the transports [${names}] is there, of ${KINDS}`);
  return kinds;
}

/**
 * @param {Auth|undefined} auth
 * @param {number} [patience] milliseconds for a function to give it
 * @returns {Promise<string|null>}
 */
export async function tokenOf(auth, patience = DEFAULTS.timeout) {
  const found = typeof auth === 'function' ? await asked(auth, patience) : auth;
  const token = typeof found === 'object' ? found?.token : found;
  return token == null ? null : String(token);
}

/**
 * @param {(done: (auth: Credentials) => void) => any} auth
 * @param {number} patience
 * @returns {Promise<any>}
 */
function asked(auth, patience) {
  /** @type {any} */
  let timer;
  return new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no token in time')), patience);
    const returned = Promise.resolve(auth(resolve));
    returned.then((value) => (value !== undefined || auth.length === 0) && resolve(value), reject);
  }).finally(() => clearTimeout(timer));
}
