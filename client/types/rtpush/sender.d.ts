/** The arguments that an envelope has for a handler or a callback. @param {import('./transports.js').Envelope} envelope @returns {any[]} */
export function argumentsOf({ args, data }: import("./transports.js").Envelope): any[];
/** @typedef {import('./emitter.js').Listener} Listener */
/** @typedef {import('./outbox.js').Refusal} Refusal */
/** @typedef {import('./socket.js').Socket} Socket */
/** For the next emit; `timeout` in milliseconds.
 * @typedef {{timeout?: number, volatile?: boolean, retain?: boolean, room?: string, key?: string}} Flags */
/** Events that only the socket itself fires; one with such a name from the server is ignored. */
export const LOCAL: Set<string>;
/** Why events are not answered after `disconnect`. @type {Refusal} */
export const LEFT: Refusal;
export class Sender {
    /**
     * @param {Socket} socket
     * @param {(texts: string[]) => boolean} send whether there was a connection to send on
     */
    constructor(socket: Socket, send: (texts: string[]) => boolean);
    outbox: Outbox;
    /**
     * @param {string} event
     * @param {any[]} args
     * @param {Flags} flags
     * @throws {Error} when the name is reserved
     * @throws {TypeError} when the server would refuse the names or the arguments
     */
    emit(event: string, args: any[], { timeout, volatile, retain, ...to }: Flags): void;
    /**
     * The function by which a handler replies to an event of the server.
     *
     * @param {unknown} ack
     * @returns {Listener}
     */
    replyTo(ack: unknown): Listener;
    /** There is a new connection: send what was not answered, and the replies that wait. */
    resend(): void;
    /**
     * The server has answered an event.
     *
     * @param {import('./transports.js').Envelope} reply
     */
    settle(reply: import("./transports.js").Envelope): void;
    /**
     * The connection has ended for good: no event will be answered.
     *
     * @param {Refusal} refusal
     */
    end(refusal: Refusal): void;
    /** Tell the application of a refusal that no callback gets. @param {Refusal} error */
    report(error: Refusal): void;
    #private;
}
export type Listener = import("./emitter.js").Listener;
export type Refusal = import("./outbox.js").Refusal;
export type Socket = import("./socket.js").Socket;
/**
 * For the next emit; `timeout` in milliseconds.
 */
export type Flags = {
    timeout?: number;
    volatile?: boolean;
    retain?: boolean;
    room?: string;
    key?: string;
};
import { Outbox } from './outbox.js';
