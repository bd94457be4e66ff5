export class Shared {
    /** Whether this browser can: the APIs are there on https and on localhost only. */
    static get possible(): boolean;
    /**
     * @param {Options} options
     * @param {() => Promise<string|null>} askToken
     * @param {Listener} listener
     */
    constructor(options: Options, askToken: () => Promise<string | null>, listener: Listener);
    active: boolean;
    cursor: Cursor;
    /** @type {Set<string>} */
    rooms: Set<string>;
    /** @type {string|null} */
    sid: string | null;
    options: import("./options.js").Options;
    askToken: () => Promise<string | null>;
    listener: import("./connection.js").Listener;
    name: string;
    start(): void;
    stop(): void;
    /** @param {string[]} texts */
    send(texts: string[]): void;
    /** @param {string} room */
    enter(room: string): void;
    /** @param {string} room */
    exit(room: string): void;
    wake(): void;
    cut(): void;
    #private;
}
export type Envelope = import("./wires.js").Envelope;
export type End = import("./wires.js").End;
export type Kind = import("./wires.js").Kind;
export type Greeting = import("./connection.js").Greeting;
export type Listener = import("./connection.js").Listener;
export type Options = import("./options.js").Options;
/**
 * What a leader tells of its connection.
 */
export type Up = [Greeting, Kind, number, string | null];
import { Cursor } from './cursor.js';
