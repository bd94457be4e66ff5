/**
 * Credentials: what a client tells the server of itself when it connects.
 *
 * Rules that hold here (PROTOCOL.md, section 4):
 * - The token travels as such, because servers, proxies and balancers know tokens. The
 *   rest of `auth` travels beside it.
 * - A session belongs to the person that its credentials name. Another person gets
 *   another session.
 */

/** What a server is told: a token, or an object that may hold one as `token`, as in Socket.IO.
 * @typedef {string|null|{[name: string]: any}} AuthData */
/** The data, or a function that gives it: by its return value, a promise, or, as in Socket.IO,
 * by calling its argument.
 * @typedef {AuthData|((done: (auth: any) => void) => any)} Auth */
/** As the headers have them. `rest` is base64url, `extra` what the application adds.
 * @typedef {{token: string|null, rest: string|null, extra?: Record<string, string>}} Credentials */

/** Nothing to tell. @type {Credentials} */
export const NO_CREDENTIALS = { token: null, rest: null };
// Milliseconds for a function to give it.
const TIMEOUT = 20_000;

/**
 * The credentials to connect with now.
 *
 * @param {Auth|undefined} auth
 * @param {number} [timeout] milliseconds for a function to give it
 * @returns {Promise<Credentials>} rejected with what the function throws, and with an Error when it takes too long
 */
export async function credentialsOf(auth, timeout = TIMEOUT) {
  const found = typeof auth === 'function' ? await callAuth(/** @type {any} */ (auth), timeout) : auth;
  const { token, ...rest } = typeof found === 'object' ? found ?? {} : { token: found };
  const text = JSON.stringify(rest);
  return { token: token == null ? null : String(token), rest: text === '{}' ? null : base64url(text) };
}

/**
 * The credentials as headers.
 *
 * @param {Credentials} credentials
 * @returns {Record<string, string>}
 */
export function headersOf({ token, rest, extra }) {
  return {
    ...extra,
    ...(token !== null && { authorization: `Bearer ${token}` }),
    ...(rest !== null && { 'rtpush-auth': rest }),
  };
}

/**
 * The credentials as subprotocols of a WebSocket, for which a browser sends no header.
 *
 * @param {Credentials} credentials
 * @returns {string[]}
 */
export function protocolsOf({ token, rest }) {
  const offered = [...(token === null ? [] : [`bearer.${token}`]), ...(rest === null ? [] : [`auth.${rest}`])];
  return offered.length === 0 ? [] : ['rtpush', ...offered];
}

/**
 * The person that credentials name: the subject of the token, or the token itself where it is
 * no JWT, and the rest.
 *
 * @param {Credentials} credentials
 * @param {string|null} [unnamed] stands for a JWT without a subject
 * @returns {string}
 */
export function identityOf({ token, rest }, unnamed = null) {
  let subject = token;
  try {
    const claims = atob(/** @type {string} */ (token).split('.')[1].replaceAll('-', '+').replaceAll('_', '/'));
    subject = JSON.parse(claims).sub ?? unnamed;
  } catch {
    // It is no JWT.
  }
  return JSON.stringify([subject, rest]);
}

/** @param {string} text */
function base64url(text) {
  const bytes = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join('');
  return btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=/g, '');
}

/**
 * @param {(done: (auth: AuthData) => void) => any} auth
 * @param {number} timeout milliseconds
 * @returns {Promise<any>}
 */
function callAuth(auth, timeout) {
  /** @type {any} */
  let timer;
  return new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('no token in time')), timeout);
    const returned = Promise.resolve(auth(resolve));
    returned.then((value) => (value !== undefined || auth.length === 0) && resolve(value), reject);
  }).finally(() => clearTimeout(timer));
}
