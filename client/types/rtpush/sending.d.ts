/**
 * @template {import('./events.js').EventsMap} ListenEvents
 * @template {import('./events.js').EventsMap} EmitEvents
 * @extends {AnyEmitter<ListenEvents, import('./events.js').SocketEvents>}
 */
export class SendingEmitter<ListenEvents extends import("./events.js").EventsMap, EmitEvents extends import("./events.js").EventsMap> extends AnyEmitter<ListenEvents, import("./events.js").SocketEvents> {
    /**
     * Send an event. A function as the last argument is called with the server's
     * answer, or with `{error: {code, message}}` when the server refuses.
     *
     * @template {import('./events.js').EventNames<EmitEvents>} Name
     * @param {Name} event
     * @param {import('./events.js').ArgumentsOf<EmitEvents, Name>} args values of JSON
     * @returns {this}
     * @throws {Error} when the name is reserved
     * @throws {TypeError} when JSON cannot represent the arguments
     */
    emit<Name extends import("./events.js").EventNames<EmitEvents>>(event: Name, ...args: import("./events.js").ArgumentsOf<EmitEvents, Name>): this;
    /**
     * Send an event, and wait for the server's answer.
     *
     * @template {import('./events.js').EventNames<EmitEvents>} Name
     * @param {Name} event
     * @param {import('./events.js').WithoutCallback<import('./events.js').ArgumentsOf<EmitEvents, Name>>} args as in `emit`
     * @returns {Promise<import('./events.js').AnswerOf<import('./events.js').ArgumentsOf<EmitEvents, Name>>>} the answer; rejected with an RtpushError when the server refuses
     */
    emitWithAck<Name extends import("./events.js").EventNames<EmitEvents>>(event: Name, ...args: import("./events.js").WithoutCallback<import("./events.js").ArgumentsOf<EmitEvents, Name>>): Promise<import("./events.js").AnswerOf<import("./events.js").ArgumentsOf<EmitEvents, Name>>>;
    /**
     * `emitWithAck` of an event that may be the protocol's own.
     *
     * @protected
     * @param {string} event
     * @param {...any} args
     * @returns {Promise<any>}
     */
    protected ask(event: string, ...args: any[]): Promise<any>;
    /**
     * Send the event `message`.
     *
     * @param {...any} args as in `emit`
     * @returns {this}
     */
    send(...args: any[]): this;
    /**
     * Give the next emit a time limit; its callback is then called with `(error, answer)`.
     *
     * @param {number} milliseconds
     * @returns {import('./socket.js').Socket<ListenEvents, import('./events.js').WithErrors<EmitEvents>>} this socket
     */
    timeout(milliseconds: number): import("./socket.js").Socket<ListenEvents, import("./events.js").WithErrors<EmitEvents>>;
    /** The next emit goes to the clients that are connected now; the server does not log it. */
    get volatile(): this;
    /** Does nothing: the server compresses every frame where that pays. @returns {this} */
    compress(): this;
    /** @param {string} room that the next emit goes to @returns {this} */
    to(room: string): this;
    /** @param {string} key of the next emit: a later event of the same room, name and key supersedes it @returns {this} */
    keyed(key: string): this;
    /**
     * The next emit is kept for clients that come later, until another with the same room, name and
     * key takes its place; null as its data removes it.
     *
     * @param {string} key
     * @returns {this}
     */
    retain(key: string): this;
    /**
     * Send what is emitted.
     *
     * @protected
     * @param {string} _event
     * @param {any[]} _args
     * @param {import('./sender.js').Flags} _flags
     */
    protected transmit(_event: string, _args: any[], _flags: import("./sender.js").Flags): void;
    #private;
}
import { AnyEmitter } from './any_emitter.js';
