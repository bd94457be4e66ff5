/**
 * Positions in the server's log, spelled `EPOCH-SEQ`.
 *
 * Rules that hold here:
 * - An epoch may itself contain '-', so a position is split at its last one.
 * - Positions of different epochs cannot be compared; only the server can say
 *   what lies between them.
 * - What does not parse is no position: it is never remembered and never a
 *   reason to drop an event.
 */

/**
 * @param {unknown} text
 * @returns {{epoch: string, seq: number} | null}
 */
export function parsePosition(text) {
  if (typeof text !== 'string') return null;
  const cut = text.lastIndexOf('-');
  const digits = text.slice(cut + 1);
  if (cut < 1 || !/^\d{1,16}$/.test(digits)) return null;
  return { epoch: text.slice(0, cut), seq: Number(digits) };
}

/**
 * Whether an event at `id` was already seen by a reader that has seen `last`.
 *
 * @param {unknown} id
 * @param {unknown} last
 * @returns {boolean}
 */
export function isSeen(id, last) {
  const a = parsePosition(id);
  const b = parsePosition(last);
  return a !== null && b !== null && a.epoch === b.epoch && a.seq <= b.seq;
}
