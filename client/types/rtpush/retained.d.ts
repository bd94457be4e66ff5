export class RetainedValues {
    /**
     * Move past an envelope.
     *
     * @param {Envelope} envelope
     * @returns {Envelope[]} it, and what it changes beside itself, in order
     */
    take(envelope: Envelope): Envelope[];
    /**
     * Forget what a room retains: a client that is not in it hears of no change.
     *
     * @param {string} room
     */
    leave(room: string): void;
    /**
     * The data by key.
     *
     * @param {string} event
     * @param {string} [room]
     * @returns {Map<string, any>}
     */
    of(event: string, room?: string): Map<string, any>;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
