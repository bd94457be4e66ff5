/**
 * @param {string} address
 * @param {UserOptions} user
 * @returns {Options}
 */
export function readOptions(address: string, user: UserOptions): Options;
/** @param {string} text */
export function warnOnce(text: string): void;
/** Where the classic script was loaded from: there its server is mounted. @type {{url?: URL}} */
export const origin: {
    url?: URL;
};
export type TransportName = import("./transports.js").TransportName;
export type Auth = import("./credentials.js").Auth;
export type UserOptions = OwnOptions & { [Name in IgnoredOption]?: any; };
/**
 * Socket.IO's options without a meaning here.
 */
export type IgnoredOption = "multiplex" | "upgrade" | "rememberUpgrade" | "tryAllTransports" | "forceBase64" | "timestampRequests" | "timestampParam" | "addTrailingSlash" | "closeOnBeforeunload" | "useNativeTimers" | "transportOptions" | "protocols" | "parser" | "autoUnref" | "requestTimeout" | "perMessageDeflate" | "secure" | "host" | "hostname" | "port" | "agent" | "ca" | "cert" | "ciphers" | "key" | "passphrase" | "pfx" | "rejectUnauthorized";
export type OwnOptions = {
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
    auth?: import("./credentials.js").Auth | undefined;
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
     * of each request; browsers send none with a WebSocket
     */
    extraHeaders?: Record<string, string> | undefined;
    /**
     * the class to use where there is no global one, such as that of `ws` in Node 20
     */
    WebSocket?: any;
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
    /**
     * whether requests to another origin carry them
     */
    cookies: RequestCredentials;
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
    WebSocket: any;
    extraHeaders?: Record<string, string> | undefined;
    /**
     * why there can be no connection; empty when there can
     */
    problem: string;
};
