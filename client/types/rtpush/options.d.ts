/**
 * @param {string} address
 * @param {UserOptions} user
 * @returns {Options}
 */
export function readOptions(address: string, user: UserOptions): Options;
/** @param {string} text */
export function sayOnce(text: string): void;
/**
 * @param {Auth|undefined} auth
 * @param {number} [patience] milliseconds for a function to give it
 * @returns {Promise<string|null>}
 */
export function tokenOf(auth: Auth | undefined, patience?: number): Promise<string | null>;
export type Kind = import("./wires.js").Kind;
/**
 * A token, an object that holds one, or a function that gives either: by its
 * return value, a promise, or, as in Socket.IO, by calling its argument.
 */
export type Credentials = string | null | {
    token?: string;
};
export type Auth = Credentials | ((done: (auth: any) => void) => any);
export type UserOptions = {
    transports?: ("websocket" | "sse" | "poll" | "polling" | "webtransport")[] | undefined;
    reconnection?: boolean | undefined;
    reconnectionAttempts?: number | undefined;
    reconnectionDelay?: number | undefined;
    reconnectionDelayMax?: number | undefined;
    randomizationFactor?: number | undefined;
    /**
     * for one attempt to connect
     */
    timeout?: number | undefined;
    auth?: Auth | undefined;
    query?: string | Record<string, string> | undefined;
    /**
     * where the server is mounted
     */
    path?: string | undefined;
    autoConnect?: boolean | undefined;
    /**
     * after which an unanswered emit is sent again
     */
    ackTimeout?: number | undefined;
    /**
     * how often it is
     */
    retries?: number | undefined;
    withCredentials?: boolean | undefined;
    /**
     * always so here
     */
    forceNew?: boolean | undefined;
    /**
     * one connection for all tabs
     */
    shared?: boolean | undefined;
    /**
     * the position to read on from, as `socket.position` gave it
     */
    last?: string | null | undefined;
};
export type Options = {
    /**
     * the server's address, with a slash at its end
     */
    base: string;
    query: Array<Array<string | null>>;
    /**
     * transports, best first
     */
    kinds: Kind[];
    credentials: RequestCredentials;
    /**
     * whether another token can be had
     */
    renewable: boolean;
    reconnection: boolean;
    reconnectionAttempts: number;
    reconnectionDelay: number;
    reconnectionDelayMax: number;
    randomizationFactor: number;
    timeout: number;
    ackTimeout: number;
    retries: number;
    autoConnect: boolean;
    shared: boolean;
    last: string | null;
};
