/**
 * Who is present in a room, as `socket.presence(room)` shows it (PROTOCOL.md, section 13).
 *
 * Rules that hold here:
 * - It shows what the socket knows of the room's retained events, and tells what has changed.
 * - With `by: 'subject'` the tabs of one person count as one: it joins with the first of them and
 *   leaves with the last.
 */

import { Emitter } from './emitter.js';

/** @typedef {{id: string, subject?: string, info: any}} Member */

/** @extends {Emitter<{join: (member: Member) => void, change: (member: Member) => void, leave: (member: Member) => void}>} */
export class Presence extends Emitter {
  /** @type {Map<string, Member>} */
  #members = new Map();

  /**
   * @param {{retained: (event: string, room: string) => ReadonlyMap<string, Member>, onEnvelope: (handler: (envelope: any) => void) => () => void}} socket
   * @param {string} room
   * @param {'id'|'subject'} [by]
   */
  constructor(socket, room, by) {
    super();
    const look = () => membersBy(by, socket.retained('presence', room));
    this.#members = look();
    /** Stop watching. */
    this.close = socket.onEnvelope(({ event, room: its }) => event === 'presence' && its === room && this.#update(look()));
  }

  /** Who is there now. @returns {Member[]} */
  get members() {
    return [...this.#members.values()];
  }

  /** @param {Map<string, Member>} now */
  #update(now) {
    const before = this.#members;
    this.#members = now;
    for (const key of new Map([...before, ...now]).keys()) {
      const [was, is] = [before.get(key), now.get(key)];
      if (was !== is) this.fire(!is ? 'leave' : was ? 'change' : 'join', is ?? was);
    }
  }
}

/**
 * Members by id, or the first one of each subject.
 *
 * @param {'id'|'subject'|undefined} by
 * @param {ReadonlyMap<string, Member>} members
 */
export function membersBy(by, members) {
  /** @type {Map<string, Member>} */
  const found = new Map();
  for (const member of members.values()) {
    const key = (by === 'subject' && member.subject) || member.id;
    if (!found.has(key)) found.set(key, member);
  }
  return found;
}
