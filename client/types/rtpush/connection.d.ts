/** Whether the client must not come back by itself. @param {End} end */
export function isFinal(end: End): boolean;
export class Connection {
    /**
     * @param {Options} options
     * @param {Rooms} rooms to be in; its owner's, who changes them
     * @param {() => Promise<string|null>} askToken
     * @param {Listener} listener
     */
    constructor(options: Options, rooms: Rooms, askToken: () => Promise<string | null>, listener: Listener);
    /** @type {string|null} */
    sid: string | null;
    cursor: Cursor;
    /** Whether it is connected or will be again by itself. */
    active: boolean;
    options: import("./options.js").Options;
    rooms: import("./wires.js").Rooms;
    listener: Listener;
    askToken: () => Promise<string | null>;
    ladder: Ladder;
    start(): void;
    /** End it from this side; `start` goes on where it was. */
    stop(): void;
    /**
     * @param {string[]} texts envelopes as JSON
     * @returns {boolean} whether there was a wire to put them on
     */
    send(texts: string[]): boolean;
    /** Rooms have been entered or left. @returns {boolean} whether the server learns of it by itself */
    moved(): boolean;
    /** Nothing has changed but time or the network: find out now, not at the next beat. */
    wake(): void;
    /** The page is put away; `wake` is called when it is there again. */
    rest(): void;
    /** The network is gone: what hangs on it is lost, however long it would take to tell. */
    cut(): void;
    #private;
}
export type Envelope = import("./wires.js").Envelope;
export type End = import("./wires.js").End;
export type Kind = import("./wires.js").Kind;
export type Rooms = import("./wires.js").Rooms;
export type Wire = import("./wires.js").Wire;
export type Options = import("./options.js").Options;
/**
 * The data of `connect` (PROTOCOL.md, section 4).
 */
export type Greeting = {
    sid: string;
    heartbeat: number;
    recovered: boolean;
};
/**
 * What a conversation tells its owner.
 */
export type Listener = {
    up: (greeting: Greeting, kind: Kind, attempts: number) => void;
    down: (reason: string, end: End) => void;
    attempt: (attempt: number) => void;
    /**
     * an attempt failed
     */
    error: (end: End, attempt: number) => void;
    /**
     * there will be no more attempts
     */
    failed: () => void;
    /**
     * each logged event once, in order
     */
    envelope: (envelope: Envelope) => void;
    reply: (reply: Envelope) => void;
    latency: (milliseconds: number) => void;
};
import { Cursor } from './cursor.js';
import { Ladder } from './ladder.js';
