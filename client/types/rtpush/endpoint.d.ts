/**
 * @param {Server} server
 * @param {string} path
 * @param {Iterable<string>} rooms
 * @param {Query} query those that are null are left out
 * @returns {URL}
 */
export function addressOf(server: Server, path: string, rooms: Iterable<string>, query: Query): URL;
/**
 * The address of a read that goes on with a session. The server knows its rooms: they are
 * named for the case that the server has lost it, as far as there is room for them.
 *
 * @param {Server} server
 * @param {Iterable<string>} rooms
 * @param {Query} query
 */
export function readAddressOf(server: Server, rooms: Iterable<string>, query: Query): URL;
/**
 * What an address that opens a session names: the rooms and the query, or what the server
 * keeps them under when they are too long.
 *
 * @param {Endpoint} server
 * @param {import('./credentials.js').Credentials} credentials
 * @param {string[]} rooms
 * @param {Query} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<[rooms: string[], query: Query]>} rejected with CloseDetails when the server refuses
 * @throws {TypeError} when the server cannot be reached
 */
export function prepare(server: Endpoint, credentials: import("./credentials.js").Credentials, rooms: string[], query: Query, signal?: AbortSignal): Promise<[rooms: string[], query: Query]>;
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
 * @param {Endpoint} server
 * @param {import('./credentials.js').Credentials} credentials
 * @param {string[]} rooms
 * @param {string|null} last the position to read from; null for a snapshot of the tasks
 * @returns {Promise<{events: Envelope[], last: string}|null>} null when the server refuses
 * @throws {TypeError} when the server cannot be reached
 */
export function readLog(server: Endpoint, credentials: import("./credentials.js").Credentials, rooms: string[], last: string | null): Promise<{
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
export type Endpoint = Server & {
    cookies: RequestCredentials;
};
/**
 * The query parameters that resume a session, and others; null where there is none.
 */
export type Query = Record<string, string | null>;
