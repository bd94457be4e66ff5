/**
 * JSON, or a TypeError: nothing is left out silently.
 *
 * @param {object} envelope
 */
export function encode(envelope: object): string;
/**
 * @param {Refusal} refusal
 * @param {object} [data]
 * @returns {RtpushError}
 */
export function errorOf(refusal: Refusal, data?: object): RtpushError;
/** @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** @typedef {(error: Refusal|null, data?: any) => void} Done */
/** An Error with the protocol's code (section 9).
 * @typedef {Error & {code: string, data: object}} RtpushError */
/** How often an entry may be said again, after how many milliseconds without an
 * answer that is, and after how many it is too late for one.
 * @typedef {{retries: number, ackTimeout: number, timeout: number}} Limits */
/** @typedef {Limits & {ack: string, text: string, done: Done, tries: number, said?: boolean, again?: any, late?: any}} Entry */
export class Outbox {
    /** @param {(text: string) => boolean} transmit whether there was a connection to say it on */
    constructor(transmit: (text: string) => boolean);
    transmit: (text: string) => boolean;
    /**
     * @param {object} envelope without ack and idempotency key; raises TypeError for what JSON cannot say
     * @param {Limits} limits
     * @param {Done} done
     */
    say(envelope: object, limits: Limits, done: Done): void;
    /** There is a new connection: say all of it again. */
    flush(): void;
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
/**
 * An Error with the protocol's code (section 9).
 */
export type RtpushError = Error & {
    code: string;
    data: object;
};
/**
 * How often an entry may be said again, after how many milliseconds without an
 * answer that is, and after how many it is too late for one.
 */
export type Limits = {
    retries: number;
    ackTimeout: number;
    timeout: number;
};
export type Entry = Limits & {
    ack: string;
    text: string;
    done: Done;
    tries: number;
    said?: boolean;
    again?: any;
    late?: any;
};
