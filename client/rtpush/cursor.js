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
export function parsePosition(text) {
  const match = typeof text === 'string' ? /^([A-Za-z0-9]{1,32})-(\d{1,16})$/.exec(text) : null;
  return match && [match[1], Number(match[2])];
}

/**
 * Whether a reader that is at `last` has what lies at `id` behind it.
 *
 * @param {unknown} id
 * @param {unknown} last
 */
export function isBehind(id, last) {
  const a = parsePosition(id);
  const b = parsePosition(last);
  return a !== null && b !== null && a[0] === b[0] && a[1] <= b[1];
}

export class Cursor {
  /** @type {string|null} */
  last = null;
  /** For each room, the position of its newest snapshot. @type {Map<string, string>} */
  #rooms = new Map();

  /**
   * @param {Envelope} envelope
   * @returns {boolean} whether it is news; what is not must go no further
   */
  take({ event, id, room }) {
    if (event === 'active_tasks') {
      // A room's snapshot says nothing about what happened elsewhere up to then.
      if (room !== undefined) this.#rooms.set(room, String(id));
      else if (id !== this.last && !this.advance(id)) return false;
      return true;
    }
    if (event === 'resync') {
      this.last = null;
      return true;
    }
    const fresh = id === undefined || this.advance(id);
    return fresh && !(room !== undefined && isBehind(id, this.#rooms.get(room)));
  }

  /**
   * @param {unknown} position
   * @returns {boolean} whether it lies ahead
   */
  advance(position) {
    if (isBehind(position, this.last)) return false;
    if (parsePosition(position)) this.last = /** @type {string} */ (position);
    return true;
  }

  /** @param {string} room */
  leave(room) {
    this.#rooms.delete(room);
  }
}
