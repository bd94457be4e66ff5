/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./socket.js').Socket} Socket */
export class Manager extends Emitter {
    /**
     * @param {Options} opts
     * @param {Socket} socket
     */
    constructor(opts: Options, socket: Socket);
    opts: import("./options.js").Options;
    uri: string;
    connect: () => import("./socket.js").Socket;
    open: () => import("./socket.js").Socket;
}
export type Options = import("./options.js").Options;
export type Socket = import("./socket.js").Socket;
import { Emitter } from './emitter.js';
