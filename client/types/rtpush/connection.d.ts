export class Connection {
    /**
     * @param {Options} options
     * @param {Rooms} rooms to be in; the owner changes them
     * @param {() => Promise<import('./credentials.js').Credentials>} getCredentials called before each attempt
     * @param {Listener} listener
     */
    constructor(options: Options, rooms: Rooms, getCredentials: () => Promise<import("./credentials.js").Credentials>, listener: Listener);
    /** The session's id, a secret. @type {string|null} */
    sid: string | null;
    cursor: Cursor;
    /** Whether it is connected or will reconnect by itself. */
    active: boolean;
    rooms: import("./endpoint.js").Rooms;
    start(): void;
    /** Disconnect. `start` connects again and resumes at the cursor. */
    stop(): void;
    /**
     * @param {string[]} texts envelopes as JSON
     * @returns {boolean} whether they were sent; without an active transport they are not
     */
    send(texts: string[]): boolean;
    /** The owner has changed the rooms. @returns {boolean} whether this tells the server; if not, the owner must */
    setRooms(): boolean;
    /** The page was resumed, or there is a network again: check the transport, or reconnect, at once. */
    resume(): void;
    /** The browser puts the page away; it calls `resume` when the page is shown again. */
    suspend(): void;
    /** There is no network: the transport is lost, however long it would take to notice. */
    offline(): void;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
export type CloseDetails = import("./transports.js").CloseDetails;
export type TransportName = import("./transports.js").TransportName;
export type Transport = import("./transports.js").Transport;
export type Parting = import("./parting.js").Parting;
export type Rooms = import("./endpoint.js").Rooms;
export type Options = import("./options.js").Options;
/**
 * The data of a `connect` envelope (PROTOCOL.md, section 4); `heartbeat` in seconds.
 */
export type Session = {
    sid: string;
    heartbeat: number;
    recovered: boolean;
};
/**
 * What a connection tells its owner.
 */
export type Listener = {
    /**
     * for the first time, again, or over another transport
     */
    connected: (session: Session, name: TransportName, attempts: number) => void;
    disconnected: (reason: string, details: CloseDetails) => void;
    /**
     * an attempt to reconnect begins
     */
    attempt: (attempt: number) => void;
    /**
     * an attempt has failed
     */
    error: (details: CloseDetails, attempt: number) => void;
    /**
     * there will be no more attempts
     */
    failed: () => void;
    /**
     * the browser puts the page away: what is sent now may still arrive
     */
    suspended: () => void;
    /**
     * another person has logged in; `reconnecting`: since the connection was lost, without a `start`
     */
    replaced: (reconnecting: boolean) => void;
    /**
     * each logged event once, in order
     */
    envelope: (envelope: Envelope) => void;
    /**
     * the server's answer to an event
     */
    reply: (reply: Envelope) => void;
    latency: (milliseconds: number) => void;
};
import { Cursor } from './cursor.js';
