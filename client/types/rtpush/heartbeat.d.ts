/** For a connection that may have died while the device slept or changed networks. */
export const RESUME_TIMEOUT: 3000;
export class Heartbeat {
    /** @param {{latency: (milliseconds: number) => void}} listener told the round trip of each ping */
    constructor(listener: {
        latency: (milliseconds: number) => void;
    });
    /**
     * Ping now, and again after each answer; close the transport when no answer comes.
     *
     * @param {Transport} transport
     * @param {number} [timeout] milliseconds for the answer to the first ping
     */
    start(transport: Transport, timeout?: number): void;
    stop(): void;
    /** An envelope has arrived. */
    received(): void;
    /**
     * A `pong` has arrived.
     *
     * @param {Transport} transport
     * @param {any} data
     * @returns {boolean} whether it answers the last ping
     */
    pong(transport: Transport, data: any): boolean;
    /**
     * The connection was cut. A proxy may cut every connection that is idle for so
     * long: when two are cut after the same time, the client sees to it that something
     * arrives before.
     *
     * @param {number} idle milliseconds since something arrived on it
     */
    learn(idle: number): void;
    /** Another network has other proxies. */
    forget(): void;
    /** The tabs of this browser share the connections that are left. */
    share(): void;
    /** Seconds of one read of a long-poll; null for as long as the server likes. @returns {string|null} */
    get readTimeout(): string | null;
    #private;
}
export type Transport = import("./transports.js").Transport;
