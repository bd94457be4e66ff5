/**
 * Server-Sent Events: the data of each event of a stream (WHATWG HTML, 9.2.6).
 *
 * Rules that hold here:
 * - Only what is new is searched for the end of an event: a snapshot of many
 *   mebibytes comes in thousands of pieces.
 */
export class SseParser {
    /**
     * @param {string} text the next piece of the stream
     * @returns {string[]} the data of the events that end in it
     */
    feed(text: string): string[];
    #private;
}
