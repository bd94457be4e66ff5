/** @typedef {import('./endpoint.js').Rooms} Rooms */
/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {import('./transports.js').CloseDetails} CloseDetails */
/** @typedef {import('./transports.js').TransportName} TransportName */
/** @typedef {import('./connection.js').Session} Session */
/** @typedef {import('./options.js').UserOptions} UserOptions */
/** @typedef {import('./options.js').Options} Options */
/**
 * @template {import('./events.js').EventsMap} [ListenEvents=import('./events.js').DefaultEventsMap]
 * @template {import('./events.js').EventsMap} [EmitEvents=ListenEvents]
 * @extends {SendingEmitter<ListenEvents, EmitEvents>}
 */
export class Socket<ListenEvents extends import("./events.js").EventsMap = import("./events.js").DefaultEventsMap, EmitEvents extends import("./events.js").EventsMap = ListenEvents> extends SendingEmitter<ListenEvents, EmitEvents> {
    /**
     * @param {string} address
     * @param {UserOptions} options
     */
    constructor(address: string, options: UserOptions);
    connected: boolean;
    /** The session's id, which is a secret. @type {string|undefined} */
    id: string | undefined;
    /** Whether the last connection resumed where the one before it ended. */
    recovered: boolean;
    /** The active transport's name; null without a connection. @type {TransportName|null} */
    transport: TransportName | null;
    /** The round trip of the last ping in milliseconds; null until one is answered. @type {number|null} */
    latency: number | null;
    /** What the server is told of the client at each connection, or what gives it; may be replaced at any time. */
    auth: import("./credentials.js").Auth | undefined;
    io: Manager;
    get disconnected(): boolean;
    /** Whether it is connected or will reconnect by itself. */
    get active(): boolean;
    /** The socket's position in the server's log, from which it resumes. */
    get position(): string | null;
    /** The rooms that it has joined without a token of their own. */
    get rooms(): string[];
    /** Connect, unless there is a connection. @returns {this} */
    connect(): this;
    /** @returns {this} */
    open(): this;
    /** Disconnect, until `connect` is called. @returns {this} */
    disconnect(): this;
    /** @returns {this} */
    close(): this;
    /**
     * Join a room, and join it again after every reconnect.
     *
     * @param {string} room
     * @param {{ token?: string, rewind?: number | string, presence?: object }} [options] `token` is a
     * right to this room alone; `rewind` asks for what happened there before: so many events, "10m", or
     * since a position; `presence` is what others in the room are to know of this client
     * @returns {Promise<void>} rejected with an RtpushError when the server refuses
     */
    join(room: string, { token, rewind, presence }?: {
        token?: string;
        rewind?: number | string;
        presence?: object;
    }): Promise<void>;
    /**
     * Leave a room.
     *
     * @param {string} room
     * @returns {Promise<void>} rejected with an RtpushError when the server refuses
     */
    leave(room: string): Promise<void>;
    /**
     * The retained events of a name, as the client knows them now: their data by key. Each also
     * reaches the event's handlers, null for one that is removed.
     *
     * @param {string} event
     * @param {string} [room] that the client is in; without one, those that are for everybody
     * @returns {Map<string, any>}
     */
    retained(event: string, room?: string): Map<string, any>;
    /**
     * Who is present in a room that the client is in: `members`, and the events `join`, `change` and
     * `leave` with a member each.
     *
     * @param {string} room
     * @param {{by?: 'id'|'subject'}} [options] by subject, the tabs of one person count as one
     */
    presence(room: string, options?: {
        by?: "id" | "subject";
    }): Presence;
    /**
     * Receive whole envelopes, with `id`, `room` and `key`, before the event's handlers do.
     *
     * @param {(envelope: Envelope) => void} handler
     * @returns {() => void} removes the handler
     */
    onEnvelope(handler: (envelope: Envelope) => void): () => void;
    #private;
}
export type Rooms = import("./endpoint.js").Rooms;
export type Envelope = import("./transports.js").Envelope;
export type CloseDetails = import("./transports.js").CloseDetails;
export type TransportName = import("./transports.js").TransportName;
export type Session = import("./connection.js").Session;
export type UserOptions = import("./options.js").UserOptions;
export type Options = import("./options.js").Options;
import { SendingEmitter } from './sending.js';
import { Manager } from './manager.js';
import { Presence } from './presence.js';
