export class SseTransport extends HttpTransport {
    /** @param {Link} link */
    constructor(link: Link);
    #private;
}
export class PollTransport extends HttpTransport {
    /** @param {Link} link */
    constructor(link: Link);
    #private;
}
export type Answer = import("./answers.js").Answer;
export type Link = import("./transports.js").Link;
/** What SSE and long-poll share: they send by POST, one at a time, so that order holds. */
declare class HttpTransport extends Transport {
    close(): void;
    /**
     * @param {URL} address
     * @param {number} timeout milliseconds
     * @param {RequestInit} [options]
     * @returns {Promise<Answer|null>} null when there is none, and the transport has closed
     */
    json(address: URL, timeout: number, options?: RequestInit): Promise<Answer | null>;
    /**
     * @param {URL} address
     * @param {RequestInit} [options]
     * @returns {Promise<Response|null>} null when the server cannot be reached, and the transport has closed
     */
    request(address: URL, options?: RequestInit): Promise<Response | null>;
    /** Close, because of an answer that is not the one expected. @param {Answer} answer */
    refuse(answer: Answer): void;
    #private;
}
import { Transport } from './transports.js';
export {};
