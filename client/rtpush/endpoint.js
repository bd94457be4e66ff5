/**
 * The server's addresses, and single reads of its log.
 *
 * Rules that hold here:
 * - No address holds credentials: servers and proxies log addresses.
 * - No address is long: what does not fit goes ahead of it, in a POST.
 */

import { answerOf, refusalOf } from './answers.js';
import { headersOf } from './credentials.js';
import { encode } from './encoding.js';

/** @typedef {import('./transports.js').Envelope} Envelope */

/** Each room, and its token if it is joined with one of its own.
 * @typedef {Map<string, string|undefined>} Rooms */

/** The server's address with a slash at its end, and what to add to each query.
 * @typedef {{base: string, query: Array<Array<string|null>>}} Server */

/** @typedef {Server & {cookies: RequestCredentials}} Endpoint */
/** The query parameters that resume a session, and others; null where there is none.
 * @typedef {Record<string, string|null>} Query */

// Characters. Many proxies take 4 KiB or 8 KiB with all headers.
const MAX_ADDRESS = 2000;

/**
 * @param {Server} server
 * @param {string} path
 * @param {Iterable<string>} rooms
 * @param {Query} query those that are null are left out
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
 * The address of a read that goes on with a session. The server knows its rooms: they are
 * named for the case that the server has lost it, as far as there is room for them.
 *
 * @param {Server} server
 * @param {Iterable<string>} rooms
 * @param {Query} query
 */
export function readAddressOf(server, rooms, query) {
  const url = addressOf(server, 'poll', rooms, query);
  return fits(url) ? url : addressOf(server, 'poll', [], { ...query, known: '1' });
}

/** @param {URL} url */
function fits(url) {
  return url.href.length <= MAX_ADDRESS;
}

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
export async function prepare(server, credentials, rooms, query, signal) {
  if (fits(addressOf(server, 'poll', rooms, query))) return [rooms, query];
  const headers = { ...headersOf(credentials), 'content-type': 'application/json' };
  const body = encode({ rooms, ...query });
  const response = await fetch(new URL('session', server.base), { method: 'POST', body, headers, credentials: server.cookies, cache: 'no-store', signal });
  const answer = await answerOf(response);
  if (typeof answer.body?.sid !== 'string') throw refusalOf(answer);
  return [[], { sid: answer.body.sid }];
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
 * @param {Endpoint} server
 * @param {import('./credentials.js').Credentials} credentials
 * @param {string[]} rooms
 * @param {string|null} last the position to read from; null for a snapshot of the tasks
 * @returns {Promise<{events: Envelope[], last: string}|null>} null when the server refuses
 * @throws {TypeError} when the server cannot be reached
 */
export async function readLog(server, credentials, rooms, last) {
  const [named, query] = await prepare(server, credentials, rooms, { last });
  const url = addressOf(server, 'poll', named, { ...query, once: '1' });
  const response = await fetch(url, { headers: headersOf(credentials), credentials: server.cookies, cache: 'no-store' });
  if (!response.ok) return null;
  const answer = await response.json();
  answer.events = answer.events.filter((/** @type {Envelope} */ { event }) => event !== 'connect');
  return answer;
}
