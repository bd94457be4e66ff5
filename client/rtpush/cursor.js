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
export function parsePosition(text) {
  const match = typeof text === 'string' ? /^([A-Za-z0-9]{1,32})-(\d{1,16})$/.exec(text) : null;
  return match && [match[1], Number(match[2])];
}

/**
 * Whether a reader at `last` has already received the event at `id`.
 *
 * @param {unknown} id
 * @param {unknown} last
 * @returns {boolean}
 */
export function isBehind(id, last) {
  const a = parsePosition(id);
  const b = parsePosition(last);
  return a !== null && b !== null && a[0] === b[0] && a[1] <= b[1];
}

export class Cursor {
  /** The position of the last event received; null before the first. @type {string|null} */
  last = null;
  /** For each room, the position of its newest snapshot. @type {Map<string, string>} */
  #rooms = new Map();

  /**
   * Move past an envelope.
   *
   * @param {Envelope} envelope
   * @returns {boolean} false for a duplicate, which the client must drop
   */
  take({ event, id, room }) {
    if (event === 'active_tasks') {
      // A room's snapshot does not cover what happened outside of the room.
      if (room !== undefined) this.#rooms.set(room, String(id));
      else if (id !== this.last && !this.advance(id)) return false;
      return true;
    }
    if (event === 'resync') {
      this.last = null;
      return true;
    }
    // The `active_tasks` behind it has the same position.
    if (event === 'state') return true;
    const fresh = id === undefined || this.advance(id);
    return fresh && !(room !== undefined && isBehind(id, this.#rooms.get(room)));
  }

  /**
   * Move to a position, unless the cursor is there or beyond.
   *
   * @param {unknown} position
   * @returns {boolean} false when the position lies behind the cursor
   */
  advance(position) {
    if (isBehind(position, this.last)) return false;
    if (parsePosition(position)) this.last = /** @type {string} */ (position);
    return true;
  }

  /** Forget everything: another person reads on, who has received nothing yet. */
  forget() {
    this.last = null;
    this.#rooms.clear();
  }

  /**
   * Forget a room's snapshot: when the client joins again, the server sends another.
   *
   * @param {string} room
   */
  leave(room) {
    this.#rooms.delete(room);
  }
}
