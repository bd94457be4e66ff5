/**
 * Retained events, as a client knows them (PROTOCOL.md, section 12).
 *
 * Rules that hold here:
 * - A `state` replaces what was known, of everything or of its room. An `active_tasks` that no
 *   `state` of the same position came before says that nothing is retained there.
 * - What a snapshot changes is handed on as events, so that handlers need to know of no
 *   snapshot: a value that is new or another one, and null for one that is gone.
 * - A rewound event is older than the snapshot that follows, and changes nothing.
 */
/** @typedef {import('./transports.js').Envelope} Envelope */
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
     * The data by key. The same object until something changes.
     *
     * @param {string} event
     * @param {string} [room]
     * @returns {ReadonlyMap<string, any>}
     */
    of(event: string, room?: string): ReadonlyMap<string, any>;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
