/**
 * The cursor: the client's position in the server's log.
 *
 * Rules that hold here (PROTOCOL.md, section 3):
 * - A position is `EPOCH-SEQ`. Positions of different epochs cannot be compared;
 *   only the server knows what lies between them.
 * - Text that does not parse is no position. The client never stores it and never
 *   drops an event because of it.
 * - The cursor names the last event that the client has received. The client does
 *   not adopt the `position` of a `connect` envelope: the events up to it are
 *   still to come.
 */
/** @typedef {import('./transports.js').Envelope} Envelope */
/**
 * @param {unknown} text
 * @returns {[epoch: string, seq: number] | null} null when the text is no position
 */
export function parsePosition(text: unknown): [epoch: string, seq: number] | null;
/**
 * Whether a reader at `last` has already received the event at `id`.
 *
 * @param {unknown} id
 * @param {unknown} last
 * @returns {boolean}
 */
export function isBehind(id: unknown, last: unknown): boolean;
export class Cursor {
    /** The position of the last event received; null before the first. @type {string|null} */
    last: string | null;
    /**
     * Move past an envelope.
     *
     * @param {Envelope} envelope
     * @returns {boolean} false for a duplicate, which the client must drop
     */
    take({ event, id, room }: Envelope): boolean;
    /**
     * Move to a position, unless the cursor is there or beyond.
     *
     * @param {unknown} position
     * @returns {boolean} false when the position lies behind the cursor
     */
    advance(position: unknown): boolean;
    /** Forget everything: another person reads on, who has received nothing yet. */
    forget(): void;
    /**
     * Forget a room's snapshot: when the client joins again, the server sends another.
     *
     * @param {string} room
     */
    leave(room: string): void;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
