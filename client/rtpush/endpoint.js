/**
 * The server's addresses, and single reads of its log.
 *
 * Rules that hold here:
 * - No address holds credentials: servers and proxies log addresses.
 */

import { headersOf } from './credentials.js';

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
export function addressOf(server, path, rooms, query) {
  const url = new URL(path, server.base);
  const all = [...server.query, ...[...rooms].map((room) => ['room', room]), ...Object.entries(query)];
  for (const [name, value] of all) {
    if (value !== null) url.searchParams.append(/** @type {string} */ (name), value);
  }
  return url;
}

/**
 * The rooms that an address may name. The client joins a room that has a token
 * of its own by an event, because an address must not hold the token.
 *
 * @param {Rooms} rooms
 * @returns {string[]}
 */
export function roomsWithoutToken(rooms) {
  return [...rooms].filter(([, token]) => token === undefined).map(([room]) => room);
}

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
export async function readLog(server, credentials, rooms, last) {
  const url = addressOf(server, 'poll', rooms, { last, once: '1' });
  const response = await fetch(url, { headers: headersOf(credentials), credentials: server.cookies, cache: 'no-store' });
  if (!response.ok) return null;
  const answer = await response.json();
  answer.events = answer.events.filter((/** @type {Envelope} */ { event }) => event !== 'connect');
  return answer;
}
