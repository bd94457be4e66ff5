/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./socket.js').Socket} Socket */
export class Manager extends Emitter<import("./events.js").DefaultEventsMap, any> {
    /**
     * @param {Options} opts
     * @param {Socket} socket
     */
    constructor(opts: Options, socket: Socket);
    opts: import("./options.js").Options;
    uri: string;
    connect: () => import("./socket.js").Socket<import("./events.js").DefaultEventsMap, import("./events.js").DefaultEventsMap>;
    open: () => import("./socket.js").Socket<import("./events.js").DefaultEventsMap, import("./events.js").DefaultEventsMap>;
    /** The transport, by Socket.IO's names. */
    engine: {
        transport: {
            readonly name: "websocket" | "polling" | null;
        };
    };
}
export type Options = import("./options.js").Options;
export type Socket = import("./socket.js").Socket;
import { Emitter } from './emitter.js';
