export class SharedConnection {
    /**
     * Whether this page may share: on https and on localhost only. An API that is there may
     * still refuse, in a sandboxed frame or where storage is blocked, so the page tries it.
     *
     * @returns {Promise<boolean>}
     */
    static supported(): Promise<boolean>;
    /**
     * @param {Options} options
     * @param {Rooms} rooms to be in; the owner changes them
     * @param {() => Promise<Credentials>} getCredentials called before each attempt
     * @param {Listener} listener
     */
    constructor(options: Options, rooms: Rooms, getCredentials: () => Promise<Credentials>, listener: Listener);
    /** Whether it is connected or will reconnect by itself. */
    active: boolean;
    cursor: Cursor;
    /** The session's id, a secret. @type {string|null} */
    sid: string | null;
    options: import("./options.js").Options;
    rooms: import("./endpoint.js").Rooms;
    getCredentials: () => Promise<Credentials>;
    listener: import("./connection.js").Listener;
    /** Of the lock and of the channel. */
    name: string;
    /** @param {boolean} [reconnecting] by itself, and not since the application asks for it */
    start(reconnecting?: boolean): Promise<void>;
    /** The credentials of a leader in this tab: a leader speaks for one person only. @returns {Promise<Credentials>} */
    leaderCredentials(): Promise<Credentials>;
    /** Disconnect this tab. `start` connects again and resumes at the cursor. */
    stop(): void;
    /**
     * @param {string[]} texts envelopes as JSON
     * @returns {boolean} whether there is a connected leader
     */
    send(texts: string[]): boolean;
    /** The owner has changed the rooms. The leader tells the server: it knows which rooms other tabs are in. @returns {boolean} */
    setRooms(): boolean;
    /** The page was resumed, or there is a network again: check at once. */
    resume(): void;
    /** The browser puts the page away: another tab has to lead, and an open channel would keep the page out of the cache. */
    suspend(): void;
    /** There is no network. */
    offline(): void;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
export type CloseDetails = import("./transports.js").CloseDetails;
export type Listener = import("./connection.js").Listener;
export type Credentials = import("./credentials.js").Credentials;
export type Options = import("./options.js").Options;
export type Rooms = import("./endpoint.js").Rooms;
import { Cursor } from './cursor.js';
