/**
 * Where a client is in the server's log.
 *
 * Rules that hold here (PROTOCOL.md, section 3):
 * - A position is `EPOCH-SEQ`. Positions of different epochs cannot be compared;
 *   only the server can say what lies between them.
 * - What does not parse is no position: it is never remembered and never a
 *   reason to drop an event.
 * - The cursor names what has really been taken. The `position` of a `connect`
 *   envelope is not adopted: what leads up to it is still on its way.
 */
/** @typedef {import('./wires.js').Envelope} Envelope */
/**
 * @param {unknown} text
 * @returns {[epoch: string, seq: number] | null}
 */
export function parsePosition(text: unknown): [epoch: string, seq: number] | null;
/**
 * Whether a reader that is at `last` has what lies at `id` behind it.
 *
 * @param {unknown} id
 * @param {unknown} last
 */
export function isBehind(id: unknown, last: unknown): boolean;
export class Cursor {
    /** @type {string|null} */
    last: string | null;
    /**
     * @param {Envelope} envelope
     * @returns {boolean} whether it is news; what is not must go no further
     */
    take({ event, id, room }: Envelope): boolean;
    /**
     * @param {unknown} position
     * @returns {boolean} whether it lies ahead
     */
    advance(position: unknown): boolean;
    /** @param {string} room */
    leave(room: string): void;
    #private;
}
export type Envelope = import("./wires.js").Envelope;
