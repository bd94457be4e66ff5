/**
 * @param {string} address
 * @param {UserOptions} user
 * @returns {Options}
 * @throws {TypeError} when the address or the transports make no sense
 */
export function readOptions(address: string, user: UserOptions): Options;
/** @param {string} text */
export function warnOnce(text: string): void;
/**
 * The token to connect with now.
 *
 * @param {Auth|undefined} auth
 * @param {number} [timeout] milliseconds for a function to give it
 * @returns {Promise<string|null>} rejected with what the function throws, and with an Error when it takes too long
 */
export function tokenOf(auth: Auth | undefined, timeout?: number): Promise<string | null>;
export type TransportName = import("./transports.js").TransportName;
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
    /**
     * whether to reconnect; true by default
     */
    reconnection?: boolean | undefined;
    /**
     * without a limit by default
     */
    reconnectionAttempts?: number | undefined;
    /**
     * milliseconds before the first attempt to reconnect, doubled each time; 1000 by default
     */
    reconnectionDelay?: number | undefined;
    /**
     * milliseconds; 5000 by default
     */
    reconnectionDelayMax?: number | undefined;
    /**
     * part of the delay by which it varies, from 0 to 1; 0.5 by default
     */
    randomizationFactor?: number | undefined;
    /**
     * milliseconds for one attempt to connect; 20,000 by default
     */
    timeout?: number | undefined;
    auth?: Auth | undefined;
    /**
     * added to every address
     */
    query?: string | Record<string, string> | undefined;
    /**
     * where the server is mounted
     */
    path?: string | undefined;
    /**
     * whether `io` connects; true by default
     */
    autoConnect?: boolean | undefined;
    /**
     * milliseconds after which the client sends an unanswered event again; never by default
     */
    ackTimeout?: number | undefined;
    /**
     * how often the client sends an unanswered event again; 5 by default
     */
    retries?: number | undefined;
    /**
     * whether to send cookies to another origin
     */
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
     * the position to resume from, as `socket.position` gave it
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
     * best first
     */
    transports: TransportName[];
    credentials: RequestCredentials;
    /**
     * whether the application can give another token
     */
    renewable: boolean;
    reconnection: boolean;
    reconnectionAttempts: number;
    /**
     * milliseconds
     */
    reconnectionDelay: number;
    /**
     * milliseconds
     */
    reconnectionDelayMax: number;
    randomizationFactor: number;
    /**
     * milliseconds
     */
    timeout: number;
    /**
     * milliseconds
     */
    ackTimeout: number;
    retries: number;
    /**
     * whether every callback gets `(error, answer)`, as in Socket.IO with `ackTimeout` or `retries`
     */
    errorFirst: boolean;
    autoConnect: boolean;
    shared: boolean;
    last: string | null;
};
