/** @typedef {(event: string, ...args: any[]) => void} AnyListener */
/**
 * @template {import('./events.js').EventsMap} Events
 * @template {import('./events.js').EventsMap} Own
 * @extends {Emitter<Events, Own>}
 */
export class AnyEmitter<Events extends import("./events.js").EventsMap, Own extends import("./events.js").EventsMap> extends Emitter<Events, Own> {
    constructor();
    /** @param {AnyListener} listener called with each event that arrives, its name first @returns {this} */
    onAny(listener: AnyListener): this;
    /** @param {AnyListener} listener as of `onAny`, before the others @returns {this} */
    prependAny(listener: AnyListener): this;
    /** @param {AnyListener} [listener] all of them when left out @returns {this} */
    offAny(listener?: AnyListener): this;
    /** @returns {AnyListener[]} */
    listenersAny(): AnyListener[];
    /** @param {AnyListener} listener called with each event that is emitted, its name first @returns {this} */
    onAnyOutgoing(listener: AnyListener): this;
    /** @param {AnyListener} listener as of `onAnyOutgoing`, before the others @returns {this} */
    prependAnyOutgoing(listener: AnyListener): this;
    /** @param {AnyListener} [listener] all of them when left out @returns {this} */
    offAnyOutgoing(listener?: AnyListener): this;
    /** @returns {AnyListener[]} */
    listenersAnyOutgoing(): AnyListener[];
    /**
     * Call the listeners of an event that has arrived: those of every event first.
     *
     * @param {string} event
     * @param {any[]} args
     */
    fireIncoming(event: string, args: any[]): void;
    /**
     * @param {string} event that is emitted
     * @param {any[]} args
     */
    fireOutgoing(event: string, args: any[]): void;
    #private;
}
export type AnyListener = (event: string, ...args: any[]) => void;
import { Emitter } from './emitter.js';
