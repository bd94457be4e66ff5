/**
 * The delay before the next attempt: exponential, and with Socket.IO's jitter, so
 * that the clients of a server that restarts do not reconnect at the same moment.
 *
 * @param {number} attempt counted from 0
 * @param {{reconnectionDelay: number, reconnectionDelayMax: number, randomizationFactor: number}} options
 * @param {() => number} [random] gives a number from 0 to 1
 * @returns {number} milliseconds
 */
export function backoff(attempt: number, options: {
    reconnectionDelay: number;
    reconnectionDelayMax: number;
    randomizationFactor: number;
}, random?: () => number): number;
export class Fallback {
    /**
     * @param {TransportName[]} transports best first
     * @param {string} storageKey under which sessionStorage keeps the transport that connected last
     */
    constructor(transports: TransportName[], storageKey: string);
    /** @returns {TransportName[]} the transports that the next attempt tries, in this order */
    order(): TransportName[];
    /**
     * Whether the attempt ends with this transport, instead of falling back to the next one.
     *
     * @param {TransportName} name of the transport that has failed
     * @param {boolean} timedOut whether the server did not answer at all
     * @returns {boolean}
     */
    waitsFor(name: TransportName, timedOut: boolean): boolean;
    /** @param {TransportName} name of the transport that has just connected */
    connected(name: TransportName): void;
    /** Forget the transport that connected last: on another network another one may work. */
    forget(): void;
    #private;
}
export type TransportName = import("./transports.js").TransportName;
