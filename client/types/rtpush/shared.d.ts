export class Shared {
    /** Whether this browser can: the APIs are there on https and on localhost only. */
    static get possible(): boolean;
    /**
     * @param {Options} options
     * @param {Rooms} rooms its owner's, who changes them
     * @param {() => Promise<string|null>} askToken
     * @param {Listener} listener
     */
    constructor(options: Options, rooms: Rooms, askToken: () => Promise<string | null>, listener: Listener);
    active: boolean;
    cursor: Cursor;
    /** @type {string|null} */
    sid: string | null;
    options: import("./options.js").Options;
    rooms: import("./wires.js").Rooms;
    askToken: () => Promise<string | null>;
    listener: import("./connection.js").Listener;
    name: string;
    start(): void;
    stop(): void;
    /** @param {string[]} texts @returns {boolean} whether there is somebody to give them to */
    send(texts: string[]): boolean;
    /** The leader knows who is in a room and who is still, so that it tells the server. */
    moved(): boolean;
    wake(): void;
    /** The page is put away: another tab has to lead, and nothing may hold the page. */
    rest(): void;
    cut(): void;
    #private;
}
export type Envelope = import("./wires.js").Envelope;
export type End = import("./wires.js").End;
export type Kind = import("./wires.js").Kind;
export type Greeting = import("./connection.js").Greeting;
export type Listener = import("./connection.js").Listener;
export type Options = import("./options.js").Options;
export type Rooms = import("./wires.js").Rooms;
/**
 * What a leader tells of its connection.
 */
export type Up = [Greeting, Kind, number, string | null];
import { Cursor } from './cursor.js';
