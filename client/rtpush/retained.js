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

const PRESENCE = 'presence';

export class RetainedValues {
  /** The envelope that set each value, by its name. @type {Map<string, Envelope>} */
  #values = new Map();
  /** Room and position of the last `state`, whose `active_tasks` comes next. */
  #state = '';

  /**
   * Move past an envelope.
   *
   * @param {Envelope} envelope
   * @returns {Envelope[]} it, and what it changes beside itself, in order
   */
  take(envelope) {
    const { event, data, room, id } = envelope;
    const place = nameOf({ room, key: id });
    if (event === 'state') {
      this.#state = place;
      return [envelope, ...this.#replace(room, id, data?.entries)];
    }
    if (event === 'active_tasks' && this.#state !== place) return [...this.#replace(room, id), envelope];
    if (event === PRESENCE) {
      for (const [what, members] of Object.entries(data ?? {})) {
        for (const member of members) this.#set({ event, room, key: member.id, id, data: what === 'left' ? null : member });
      }
    } else if (envelope.retain && !envelope.rewound) {
      this.#set(envelope);
    }
    return [envelope];
  }

  /**
   * Forget what a room retains: a client that is not in it hears of no change.
   *
   * @param {string} room
   */
  leave(room) {
    this.#replace(room);
  }

  /**
   * The data by key.
   *
   * @param {string} event
   * @param {string} [room]
   * @returns {Map<string, any>}
   */
  of(event, room) {
    const found = [...this.#values.values()].filter((value) => value.event === event && value.room === room);
    return new Map(found.map(({ key, data }) => [key, data]));
  }

  /** @param {Envelope} envelope */
  #set(envelope) {
    const name = nameOf(envelope);
    this.#values.delete(name);
    if (envelope.data != null) this.#values.set(name, envelope);
  }

  /**
   * @param {string|undefined} room
   * @param {unknown} [id]
   * @param {Envelope[]} [entries]
   * @returns {Envelope[]} what has changed; of a room's members in one event, as the server tells it
   */
  #replace(room, id, entries = []) {
    const before = new Map(this.#values);
    const told = new Map();
    const tell = (/** @type {string} */ name, /** @type {Envelope} */ change) => {
      const { event, room } = change;
      if (event !== PRESENCE) return told.set(name, change);
      const known = before.get(name)?.data;
      const whole = nameOf({ event, room });
      if (!told.has(whole)) told.set(whole, { ...change, data: {} });
      (told.get(whole).data[known ? (change.data ? 'changed' : 'left') : 'joined'] ??= []).push(change.data ?? known);
    };
    for (const [name, value] of before) if (room === undefined || value.room === room) this.#values.delete(name);
    for (const entry of entries) {
      const name = nameOf(entry);
      this.#values.set(name, entry);
      if (before.get(name)?.id !== entry.id) tell(name, entry);
    }
    for (const [name, value] of before) if (!this.#values.has(name)) tell(name, { ...value, data: null, retained: true, id });
    return [...told.values()];
  }
}

/** @param {Envelope} envelope */
function nameOf({ event, room, key }) {
  return JSON.stringify([room, event, key]);
}
