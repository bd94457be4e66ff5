/**
 * @param {Refusal} refusal
 * @param {object} [data] of the error; the refusal when left out
 * @returns {RtpushError}
 */
export function errorOf(refusal: Refusal, data?: object): RtpushError;
/** `retry_after` in seconds.
 * @typedef {{code: string, message: string, retry_after?: number}} Refusal */
/** `data`: the arguments of the callback. `sent`: whether the event was sent, though not answered.
 * @typedef {(error: Refusal|null, data?: any, sent?: boolean) => void} Done */
/** An Error with the protocol's code (section 9).
 * @typedef {Error & {code: string, data: object}} RtpushError */
/** `retries`: how often an entry may be sent again. In milliseconds, `ackTimeout`:
 * without an answer for so long it is sent again; `timeout`: without an answer for
 * so long it is refused.
 * @typedef {{retries: number, ackTimeout: number, timeout: number}} Limits */
/** @typedef {Limits & {ack: string, text: string, done: Done, tries: number, sent?: boolean, ackTimer?: any, timer?: any}} Entry */
export class Outbox {
    /** @param {(text: string) => boolean} send whether there was a connection to send on */
    constructor(send: (text: string) => boolean);
    /**
     * Send an envelope until the server answers.
     *
     * @param {object} envelope without ack and idempotency key
     * @param {Limits} limits
     * @param {Done} done
     * @throws {TypeError} when `encode` refuses the envelope
     */
    add(envelope: object, limits: Limits, done: Done): void;
    /** There is a new connection: send all entries again. */
    resend(): void;
    /** The connection has ended for good: no entry will be answered. @param {Refusal} refusal */
    end(refusal: Refusal): void;
    /** The server closed the connection because a message is too large: refuse the largest that was sent. */
    refuseLargest(): void;
    /**
     * The answer to an entry has come. An ack that is not in the outbox is ignored.
     *
     * @param {unknown} ack
     * @param {Refusal|null} error
     * @param {any} [data]
     */
    settle(ack: unknown, error: Refusal | null, data?: any): void;
    #private;
}
/**
 * `retry_after` in seconds.
 */
export type Refusal = {
    code: string;
    message: string;
    retry_after?: number;
};
/**
 * `data`: the arguments of the callback. `sent`: whether the event was sent, though not answered.
 */
export type Done = (error: Refusal | null, data?: any, sent?: boolean) => void;
/**
 * An Error with the protocol's code (section 9).
 */
export type RtpushError = Error & {
    code: string;
    data: object;
};
/**
 * `retries`: how often an entry may be sent again. In milliseconds, `ackTimeout`:
 * without an answer for so long it is sent again; `timeout`: without an answer for
 * so long it is refused.
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
    sent?: boolean;
    ackTimer?: any;
    timer?: any;
};
