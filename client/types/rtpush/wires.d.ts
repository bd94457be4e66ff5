/**
 * @param {{base: string, query: Array<Array<string|null>>}} server
 * @param {string} path
 * @param {Iterable<string>} rooms
 * @param {Record<string, string|null>} query
 */
export function addressOf(server: {
    base: string;
    query: Array<Array<string | null>>;
}, path: string, rooms: Iterable<string>, query: Record<string, string | null>): URL;
/** The rooms that an address may name; those of a token are joined. @param {Rooms} rooms */
export function openRooms(rooms: Rooms): string[];
/**
 * One read of the log, without any session.
 *
 * @param {{base: string, query: Array<Array<string|null>>, credentials: RequestCredentials}} server
 * @param {string|null} token
 * @param {Iterable<string>} rooms
 * @param {string|null} last null: a snapshot of the tasks instead
 * @returns {Promise<{events: Envelope[], last: string}|null>} null when it is refused
 */
export function readAt(server: {
    base: string;
    query: Array<Array<string | null>>;
    credentials: RequestCredentials;
}, token: string | null, rooms: Iterable<string>, last: string | null): Promise<{
    events: Envelope[];
    last: string;
} | null>;
/**
 * @param {Kind} kind
 * @param {Link} link
 */
export function openWire(kind: Kind, link: Link): Wire;
/**
 * Three wires of one shape: WebSocket, Server-Sent Events, long-poll.
 *
 * Rules that hold here:
 * - A wire starts at once. Envelopes go to `link.receive`; an end that its owner
 *   did not ask for goes to `link.ended`, once.
 * - After `close()` a wire is silent: nothing of the link is called again.
 * - The owner calls `greeted` when the connect envelope has come; what is sent
 *   over HTTP waits for that.
 * - A token travels in a header or a subprotocol, never in an address, where
 *   logs would keep it. EventSource can send no header, so SSE is a `fetch`.
 */
/** The reason of an end, in Socket.IO's words. */
export const PING_TIMEOUT: "ping timeout";
/** One envelope, as PROTOCOL.md describes it. Nothing about it can be trusted.
 * @typedef {{event?: any, data?: any, id?: any, room?: any, key?: any, ack?: any, error?: any}} Envelope */
/** Why a wire ended. `code` is the close code of the protocol.
 * @typedef {{code: number, message: string, retryAfter?: number}} End */
/**
 * @typedef {object} Link
 * @property {(path: string, query: Record<string, string|null>) => URL} address
 * @property {() => Record<string, string|null>} place where the reader is: `last` and `sid`
 * @property {string|null} token
 * @property {RequestCredentials} credentials
 * @property {(wire: Wire, envelope: Envelope) => void} receive
 * @property {(position: string) => void} advance the cursor that a long-poll answer names
 * @property {(wire: Wire, end: End) => void} ended
 */
/** @typedef {'websocket'|'sse'|'poll'} Kind */
/** Each room, and the token that it is entered with if it needs one of its own.
 * @typedef {Map<string, string|undefined>} Rooms */
export class Wire {
    /**
     * @param {Kind} kind
     * @param {Link} link
     */
    constructor(kind: Kind, link: Link);
    closed: boolean;
    /** @type {string|null} */
    sid: string | null;
    abort: AbortController;
    /** What the server has said ahead of a close, which has room for a code only. @type {any} */
    why: any;
    kind: Kind;
    link: Link;
    /**
     * @param {string} sid
     * @param {number} _heartbeat seconds between two signs of life
     */
    greeted(sid: string, _heartbeat: number): void;
    /** @param {string[]} _texts envelopes as JSON */
    send(_texts: string[]): void;
    /** @param {unknown[]} envelopes */
    receive(envelopes: unknown[]): void;
    /**
     * @param {number} code
     * @param {string} message
     * @param {number} [retryAfter] seconds
     */
    end(code: number, message: string, retryAfter?: number): void;
    close(): void;
}
/**
 * One envelope, as PROTOCOL.md describes it. Nothing about it can be trusted.
 */
export type Envelope = {
    event?: any;
    data?: any;
    id?: any;
    room?: any;
    key?: any;
    ack?: any;
    error?: any;
};
/**
 * Why a wire ended. `code` is the close code of the protocol.
 */
export type End = {
    code: number;
    message: string;
    retryAfter?: number;
};
export type Link = {
    address: (path: string, query: Record<string, string | null>) => URL;
    /**
     * where the reader is: `last` and `sid`
     */
    place: () => Record<string, string | null>;
    token: string | null;
    credentials: RequestCredentials;
    receive: (wire: Wire, envelope: Envelope) => void;
    /**
     * the cursor that a long-poll answer names
     */
    advance: (position: string) => void;
    ended: (wire: Wire, end: End) => void;
};
export type Kind = "websocket" | "sse" | "poll";
/**
 * Each room, and the token that it is entered with if it needs one of its own.
 */
export type Rooms = Map<string, string | undefined>;
