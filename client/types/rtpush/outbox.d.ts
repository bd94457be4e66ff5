/**
 * JSON, or a TypeError: nothing is left out silently.
 *
 * @param {object} envelope
 */
export function encode(envelope: object): string;
/** @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** @typedef {(error: Refusal|null, data?: any) => void} Done */
/** @typedef {{ack: string, text: string, done: Done, retries: number, tries: number}} Entry */
export class Outbox {
    /**
     * @param {object} envelope without ack and idempotency key; raises TypeError for what JSON cannot say
     * @param {Done} done
     * @param {number} retries how often it may be said again
     * @returns {Entry|null} null when the box is full
     */
    add(envelope: object, done: Done, retries: number): Entry | null;
    /**
     * What to say on a new connection.
     *
     * @returns {string[]}
     */
    takeAll(): string[];
    /**
     * @param {Entry} entry
     * @returns {boolean} whether it may be said (again)
     */
    take(entry: Entry): boolean;
    /** The connection was closed for a message that is too large: the largest is to blame. */
    blameLargest(): void;
    /**
     * @param {unknown} ack
     * @param {Refusal|null} error
     * @param {any} [data]
     */
    settle(ack: unknown, error: Refusal | null, data?: any): void;
    #private;
}
export type Refusal = {
    code: string;
    message: string;
    retry_after?: number;
};
export type Done = (error: Refusal | null, data?: any) => void;
export type Entry = {
    ack: string;
    text: string;
    done: Done;
    retries: number;
    tries: number;
};
