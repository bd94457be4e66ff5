/**
 * The credentials to connect with now.
 *
 * @param {Auth|undefined} auth
 * @param {number} [timeout] milliseconds for a function to give it
 * @returns {Promise<Credentials>} rejected with what the function throws, and with an Error when it takes too long
 */
export function credentialsOf(auth: Auth | undefined, timeout?: number): Promise<Credentials>;
/**
 * The credentials as headers.
 *
 * @param {Credentials} credentials
 * @returns {Record<string, string>}
 */
export function headersOf({ token, rest, extra }: Credentials): Record<string, string>;
/**
 * The credentials as subprotocols of a WebSocket, for which a browser sends no header.
 *
 * @param {Credentials} credentials
 * @returns {string[]}
 */
export function protocolsOf({ token, rest }: Credentials): string[];
/**
 * The person that credentials name: the subject of the token, or the token itself where it is
 * no JWT, and the rest.
 *
 * @param {Credentials} credentials
 * @param {string|null} [unnamed] stands for a JWT without a subject
 * @returns {string}
 */
export function identityOf({ token, rest }: Credentials, unnamed?: string | null): string;
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
export const NO_CREDENTIALS: Credentials;
/**
 * What a server is told: a token, or an object that may hold one as `token`, as in Socket.IO.
 */
export type AuthData = string | null | {
    [name: string]: any;
};
/**
 * The data, or a function that gives it: by its return value, a promise, or, as in Socket.IO,
 * by calling its argument.
 */
export type Auth = AuthData | ((done: (auth: any) => void) => any);
/**
 * As the headers have them. `rest` is base64url, `extra` what the application adds.
 */
export type Credentials = {
    token: string | null;
    rest: string | null;
    extra?: Record<string, string>;
};
