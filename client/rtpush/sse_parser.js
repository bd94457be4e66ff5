/**
 * Server-Sent Events: the data of each event of a stream (WHATWG HTML, 9.2.6).
 *
 * Rules that hold here:
 * - Only what is new is searched for the end of an event: a snapshot of many
 *   mebibytes comes in thousands of pieces.
 */

export class SseParser {
  /** The text of an event whose end has not come. @type {string[]} */
  #pieces = [];
  #lastCharacter = '';

  /**
   * @param {string} text the next piece of the stream
   * @returns {string[]} the data of the events that end in it
   */
  feed(text) {
    const ends = (this.#lastCharacter + text).includes('\n\n');
    this.#pieces.push(text);
    this.#lastCharacter = text.at(-1) ?? this.#lastCharacter;
    if (!ends) return [];
    const events = this.#pieces.join('').split('\n\n');
    this.#pieces = [/** @type {string} */ (events.pop())];
    return events.map(dataOf);
  }
}

/** @param {string} event */
function dataOf(event) {
  const lines = event.split('\n').filter((line) => line.startsWith('data:'));
  return lines.map((line) => line.slice(5)).join('\n');
}
