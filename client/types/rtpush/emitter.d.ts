/**
 * @param {Listener} listener
 * @param {any[]} args
 */
export function call(listener: Listener, args: any[]): void;
/**
 * Listeners by event, with the habits of Socket.IO's emitter.
 *
 * Rules that hold here:
 * - Events are kept in a Map: one that is named `__proto__` is only a name.
 * - Listeners are called in the order they came. One that throws is reported as
 *   any uncaught error is, and hinders none of the others.
 * - Who listens while an event goes round is decided when it starts.
 */
/** @typedef {(...args: any[]) => void} Listener */
export class Emitter {
    /**
     * @param {string} event
     * @param {Listener} listener
     * @returns {this}
     */
    on(event: string, listener: Listener): this;
    /**
     * @param {string} event
     * @param {Listener} listener
     * @returns {this}
     */
    once(event: string, listener: Listener): this;
    /**
     * Take away one listener, all of an event, or all there are.
     *
     * @param {string} [event]
     * @param {Listener} [listener]
     * @returns {this}
     */
    off(event?: string, listener?: Listener): this;
    /**
     * @param {string} [event]
     * @param {Listener} [listener]
     * @returns {this}
     */
    removeListener(event?: string, listener?: Listener): this;
    /** @param {string} [event] @returns {this} */
    removeAllListeners(event?: string): this;
    /**
     * @param {string} event
     * @returns {Listener[]}
     */
    listeners(event: string): Listener[];
    /** @param {string} event */
    hasListeners(event: string): boolean;
    /**
     * Call the listeners of an event.
     *
     * @param {string} event
     * @param {...any} args
     */
    fire(event: string, ...args: any[]): void;
    #private;
}
export type Listener = (...args: any[]) => void;
