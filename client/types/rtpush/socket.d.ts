export class Socket extends Emitter {
    /**
     * @param {string} address
     * @param {UserOptions} options
     */
    constructor(address: string, options: UserOptions);
    connected: boolean;
    /** The session's id, which is a secret. @type {string|undefined} */
    id: string | undefined;
    /** Whether the last connection took up where the one before it ended. */
    recovered: boolean;
    /** Of the connection that stands. @type {'websocket'|'sse'|'poll'|null} */
    transport: "websocket" | "sse" | "poll" | null;
    /** Of the last ping, in milliseconds. @type {number|null} */
    latency: number | null;
    /** Sent with every connection; may be replaced at any time. */
    auth: import("./options.js").Auth | undefined;
    io: Manager;
    get disconnected(): boolean;
    /** Whether it is connected or will be by itself. */
    get active(): boolean;
    /** Where it is in the server's log: what it came back with. */
    get position(): string | null;
    /** The rooms that it has entered without a token of their own. */
    get rooms(): string[];
    connect(): this;
    open(): this;
    disconnect(): this;
    close(): this;
    /**
     * Send an event. A function as the last argument is called with the answer;
     * with `{error: {code, message}}` when it was refused.
     *
     * @param {string} event
     * @param {...any} args one value of JSON; several travel as an array
     * @returns {this}
     */
    emit(event: string, ...args: any[]): this;
    /**
     * @param {string} event
     * @param {...any} args
     * @returns {Promise<any>} the answer; rejected with an RtpushError when it was refused
     */
    emitWithAck(event: string, ...args: any[]): Promise<any>;
    /** @param {...any} args */
    send(...args: any[]): this;
    /** @param {number} milliseconds after which the callback of the next emit gets an error */
    timeout(milliseconds: number): this;
    /** The next emit is for those who are connected now; it is not logged. */
    get volatile(): this;
    /** Every frame is compressed where that pays; nothing to choose. */
    compress(): this;
    /** @param {string} room that the next emit goes to */
    to(room: string): this;
    /** @param {string} key a later event of the same room, name and key supersedes the next one */
    keyed(key: string): this;
    /**
     * Enter a room; stay in it over every reconnect.
     *
     * @param {string} room
     * @param {string} [token] a right to this room alone
     * @returns {Promise<void>} rejected with an RtpushError when it is refused
     */
    join(room: string, token?: string): Promise<void>;
    /**
     * @param {string} room
     * @returns {Promise<void>}
     */
    leave(room: string): Promise<void>;
    /** @param {Handler} listener called with every event's name and data */
    onAny(listener: Handler): this;
    /** @param {Handler} [listener] */
    offAny(listener?: Handler): this;
    /**
     * See whole envelopes, with `id`, `room` and `key`, before their handlers do.
     *
     * @param {(envelope: Envelope) => void} listener
     * @returns {() => void} stops it
     */
    onEnvelope(listener: (envelope: Envelope) => void): () => void;
    #private;
}
export type Handler = import("./emitter.js").Listener;
export type Envelope = import("./wires.js").Envelope;
export type End = import("./wires.js").End;
export type Greeting = import("./connection.js").Greeting;
export type UserOptions = import("./options.js").UserOptions;
export type Options = import("./options.js").Options;
import { Emitter } from './emitter.js';
import { Manager } from './manager.js';
