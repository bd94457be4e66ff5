/** @typedef {import('./transports.js').Envelope} Envelope */
/** Each room, and its token if it is joined with one of its own.
 * @typedef {Map<string, string|undefined>} Rooms */
/** The server's address with a slash at its end, and what to add to each query.
 * @typedef {{base: string, query: Array<Array<string|null>>}} Server */
/**
 * @param {Server} server
 * @param {string} path
 * @param {Iterable<string>} rooms
 * @param {Record<string, string|null>} query parameters; those that are null are left out
 * @returns {URL}
 */
export function addressOf(server: Server, path: string, rooms: Iterable<string>, query: Record<string, string | null>): URL;
/**
 * The rooms that an address may name. The client joins a room that has a token
 * of its own by an event, because an address must not hold the token.
 *
 * @param {Rooms} rooms
 * @returns {string[]}
 */
export function roomsWithoutToken(rooms: Rooms): string[];
/**
 * Read the log once, in a session that the server ends with its answer.
 *
 * @param {Server & {cookies: RequestCredentials}} server
 * @param {import('./credentials.js').Credentials} credentials
 * @param {Iterable<string>} rooms
 * @param {string|null} last the position to read from; null for a snapshot of the tasks
 * @returns {Promise<{events: Envelope[], last: string}|null>} null when the server refuses
 * @throws {TypeError} when the server cannot be reached
 */
export function readLog(server: Server & {
    cookies: RequestCredentials;
}, credentials: import("./credentials.js").Credentials, rooms: Iterable<string>, last: string | null): Promise<{
    events: Envelope[];
    last: string;
} | null>;
export type Envelope = import("./transports.js").Envelope;
/**
 * Each room, and its token if it is joined with one of its own.
 */
export type Rooms = Map<string, string | undefined>;
/**
 * The server's address with a slash at its end, and what to add to each query.
 */
export type Server = {
    base: string;
    query: Array<Array<string | null>>;
};
