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
  /** The envelope that set each value, by its name. @type {Map<string, Envelope>} */
  #values = new Map();
  /** The position of a room's last `state`, until its `active_tasks` comes. */
  #announced = new Map();
  /** What `of` has returned since the last change. @type {Map<string, ReadonlyMap<string, any>>} */
  #views = new Map();

  /**
   * Move past an envelope.
   *
   * @param {Envelope} envelope
   * @returns {Envelope[]} it, and what it changes beside itself, in order
   */
  take(envelope) {
    const { event, data, room, id } = envelope;
    if (event === 'state') {
      this.#announced.set(room, id);
      return [envelope, ...this.#replace(room, Array.isArray(data?.entries) ? data.entries : [], id)];
    }
    if (event === 'active_tasks') {
      const announced = this.#announced.get(room) === id;
      this.#announced.delete(room);
      return announced ? [envelope] : [...this.#replace(room, [], id), envelope];
    }
    if (envelope.retain === true && envelope.rewound === undefined) this.#set(envelope);
    return [envelope];
  }

  /**
   * Forget what a room retains: a client that is not in it hears of no change.
   *
   * @param {string} room
   */
  leave(room) {
    this.#replace(room, [], undefined);
  }

  /**
   * The data by key. The same object until something changes.
   *
   * @param {string} event
   * @param {string} [room]
   * @returns {ReadonlyMap<string, any>}
   */
  of(event, room) {
    const name = nameOf({ event, room });
    let view = this.#views.get(name);
    if (view === undefined) {
      const found = [...this.#values.values()].filter((value) => value.event === event && value.room === room);
      this.#views.set(name, (view = new Map(found.map(({ key, data }) => [key, data]))));
    }
    return view;
  }

  /** @param {Envelope} envelope */
  #set(envelope) {
    const name = nameOf(envelope);
    this.#views.delete(nameOf({ event: envelope.event, room: envelope.room }));
    this.#values.delete(name);
    if (envelope.data != null) this.#values.set(name, envelope);
  }

  /**
   * @param {string|undefined} room
   * @param {Envelope[]} entries
   * @param {unknown} id
   * @returns {Envelope[]} what has changed
   */
  #replace(room, entries, id) {
    const before = new Map([...this.#values].filter(([, value]) => room === undefined || value.room === room));
    const found = new Map(entries.map((entry) => [nameOf(entry), entry]));
    this.#views.clear();
    for (const name of before.keys()) this.#values.delete(name);
    for (const [name, entry] of found) this.#values.set(name, entry);
    const gone = [...before].filter(([name]) => !found.has(name)).map(([, { event, room: its, key }]) => ({ event, room: its, key, data: null, retained: true, id }));
    return [...gone, ...entries.filter((entry) => before.get(nameOf(entry))?.id !== entry.id)];
  }
}

/** @param {Envelope} envelope */
function nameOf({ event, room, key }) {
  return JSON.stringify([room ?? null, event, key]);
}
