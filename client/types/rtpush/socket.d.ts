/** @typedef {import('./emitter.js').Listener} Handler */
/** @typedef {import('./endpoint.js').Rooms} Rooms */
/** @typedef {import('./transports.js').Envelope} Envelope */
/** @typedef {import('./transports.js').CloseDetails} CloseDetails */
/** @typedef {import('./transports.js').TransportName} TransportName */
/** @typedef {import('./connection.js').Session} Session */
/** @typedef {import('./options.js').UserOptions} UserOptions */
/** @typedef {import('./options.js').Options} Options */
export class Socket extends Emitter {
    /**
     * @param {string} address
     * @param {UserOptions} options
     * @throws {TypeError} when the address or the transports make no sense
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
    /** The token, or what gives it, for every connection; may be replaced at any time. */
    auth: import("./options.js").Auth | undefined;
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
     * Send an event. A function as the last argument is called with the server's
     * answer, or with `{error: {code, message}}` when the server refuses.
     *
     * @param {string} event
     * @param {...any} args one value of JSON; several travel as an array
     * @returns {this}
     * @throws {Error} when the name is reserved
     * @throws {TypeError} when JSON cannot represent the arguments
     */
    emit(event: string, ...args: any[]): this;
    /**
     * Send an event, and wait for the server's answer.
     *
     * @param {string} event
     * @param {...any} args as in `emit`
     * @returns {Promise<any>} the answer; rejected with an RtpushError when the server refuses
     */
    emitWithAck(event: string, ...args: any[]): Promise<any>;
    /**
     * Send the event `message`.
     *
     * @param {...any} args as in `emit`
     * @returns {this}
     */
    send(...args: any[]): this;
    /**
     * Give the next emit a time limit; its callback is then called with `(error, answer)`.
     *
     * @param {number} milliseconds
     * @returns {this}
     */
    timeout(milliseconds: number): this;
    /** The next emit goes to the clients that are connected now; the server does not log it. */
    get volatile(): this;
    /** Does nothing: the server compresses every frame where that pays. @returns {this} */
    compress(): this;
    /** @param {string} room that the next emit goes to @returns {this} */
    to(room: string): this;
    /** @param {string} key of the next emit: a later event of the same room, name and key supersedes it @returns {this} */
    keyed(key: string): this;
    /**
     * Join a room, and join it again after every reconnect.
     *
     * @param {string} room
     * @param {string} [token] a right to this room alone
     * @returns {Promise<void>} rejected with an RtpushError when the server refuses
     */
    join(room: string, token?: string): Promise<void>;
    /**
     * Leave a room.
     *
     * @param {string} room
     * @returns {Promise<void>} rejected with an RtpushError when the server refuses
     */
    leave(room: string): Promise<void>;
    /** @param {Handler} handler called with every event's name and data @returns {this} */
    onAny(handler: Handler): this;
    /** @param {Handler} [handler] all of them when left out @returns {this} */
    offAny(handler?: Handler): this;
    /**
     * Receive whole envelopes, with `id`, `room` and `key`, before the event's handlers do.
     *
     * @param {(envelope: Envelope) => void} handler
     * @returns {() => void} removes the handler
     */
    onEnvelope(handler: (envelope: Envelope) => void): () => void;
    #private;
}
export type Handler = import("./emitter.js").Listener;
export type Rooms = import("./endpoint.js").Rooms;
export type Envelope = import("./transports.js").Envelope;
export type CloseDetails = import("./transports.js").CloseDetails;
export type TransportName = import("./transports.js").TransportName;
export type Session = import("./connection.js").Session;
export type UserOptions = import("./options.js").UserOptions;
export type Options = import("./options.js").Options;
import { Emitter } from './emitter.js';
import { Manager } from './manager.js';
