/**
 * Exponential, and jittered as in Socket.IO, so that clients that lost the same
 * server do not come back as one wave.
 *
 * @param {number} attempt from 0
 * @param {{reconnectionDelay: number, reconnectionDelayMax: number, randomizationFactor: number}} options
 * @returns {number} milliseconds
 */
export function backoff(attempt: number, options: {
    reconnectionDelay: number;
    reconnectionDelayMax: number;
    randomizationFactor: number;
}, random?: () => number): number;
export class Ladder {
    /**
     * @param {Kind[]} kinds best first
     * @param {string} name under which the tab remembers what worked
     */
    constructor(kinds: Kind[], name: string);
    kinds: import("./wires.js").Kind[];
    name: string;
    /** @returns {Kind[]} what an attempt tries, in this order */
    next(): Kind[];
    /**
     * Whether to wait for the next attempt now that one transport has failed.
     *
     * @param {Kind} kind
     * @param {boolean} silent it was not answered
     */
    waitsFor(kind: Kind, silent: boolean): boolean;
    /** @param {Kind} kind the one that has just connected */
    succeeded(kind: Kind): void;
    /** Another network: what worked on the last one says nothing. */
    forget(): void;
    #private;
}
export type Kind = import("./wires.js").Kind;
