/**
 * Call a listener. What it throws is reported as an uncaught error, later.
 *
 * @param {Listener} listener
 * @param {any[]} args
 */
export function call(listener: Listener, args: any[]): void;
/**
 * Listeners by event, with the interface of Socket.IO's emitter.
 *
 * Rules that hold here:
 * - A Map holds the events: `__proto__` is a name like any other.
 * - The emitter calls listeners in the order in which they were added. When one
 *   throws, the browser reports it as an uncaught error, and the others are called.
 * - A listener that is added or removed while an event is fired counts from the next one.
 */
/** @typedef {(...args: any[]) => void} Listener */
/**
 * @template {import('./events.js').EventsMap} [Events=import('./events.js').DefaultEventsMap]
 * @template {import('./events.js').EventsMap} [Own={}]
 */
export class Emitter<Events extends import("./events.js").EventsMap = import("./events.js").DefaultEventsMap, Own extends import("./events.js").EventsMap = {}> {
    /**
     * Call a function on each event of a name.
     *
     * @template {import('./events.js').EventNames<Events> | import('./events.js').EventNames<Own>} Name
     * @param {Name} event
     * @param {import('./events.js').ListenerOf<Events, Own, Name>} listener
     * @returns {this}
     * @throws {TypeError} when the listener is not a function
     */
    on<Name extends import("./events.js").EventNames<Events> | import("./events.js").EventNames<Own>>(event: Name, listener: import("./events.js").ListenerOf<Events, Own, Name>): this;
    /**
     * Call a function on the next event of a name only.
     *
     * @template {import('./events.js').EventNames<Events> | import('./events.js').EventNames<Own>} Name
     * @param {Name} event
     * @param {import('./events.js').ListenerOf<Events, Own, Name>} listener
     * @returns {this}
     */
    once<Name extends import("./events.js").EventNames<Events> | import("./events.js").EventNames<Own>>(event: Name, listener: import("./events.js").ListenerOf<Events, Own, Name>): this;
    /**
     * Remove one listener, all of an event, or all there are.
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
    /** @param {string} event @returns {boolean} */
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
