export class WebSocketManager {
    /**
     * @param {object} [settings]
     * @param {string} [settings.url] of the server; that of the page when left out
     * @param {import('./rtpush/options.js').UserOptions} [settings.options] for `io`
     * @param {(text: string, type: string, name: keyof typeof NOTICES, detail: string) => void} [settings.showToast]
     */
    constructor({ url, options, showToast }?: {
        url?: string | undefined;
        options?: import("./rtpush/options.js").UserOptions | undefined;
        showToast?: ((text: string, type: string, name: keyof typeof NOTICES, detail: string) => void) | undefined;
    });
    /** @type {import('./rtpush/socket.js').Socket|null} */
    socket: import("./rtpush/socket.js").Socket | null;
    reconnectAttempts: number;
    /** @type {Map<string, Handler[]>} */
    eventHandlers: Map<string, Handler[]>;
    url: string;
    options: import("./rtpush/options.js").UserOptions;
    showToast: (text: string, type: string, name: keyof typeof NOTICES, detail: string) => void;
    /** Connect, unless there is a connection. */
    connect(): void;
    /**
     * Call a function on each event of a name.
     *
     * @param {string} event one of the server's, or `status`, when the connection has changed
     * @param {Handler} handler
     */
    on(event: string, handler: Handler): void;
    /**
     * Call the handlers of an event, in this page only.
     *
     * @param {string} event
     * @param {...any} args
     */
    trigger(event: string, ...args: any[]): void;
    /**
     * Send an event.
     *
     * @param {string} event
     * @param {...any} args as in `socket.emit`
     * @throws {Error} before `connect`
     */
    emit(event: string, ...args: any[]): void;
    disconnect(): void;
    #private;
}
export type Handler = (data: any, ...more: any[]) => void;
declare namespace NOTICES {
    let connected: string[];
    let lost: string[];
    let recovered: string[];
    let refreshed: string[];
    let stopped: string[];
}
export {};
