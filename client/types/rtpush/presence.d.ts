/**
 * Members by id, or the first one of each subject.
 *
 * @param {'id'|'subject'|undefined} by
 * @param {ReadonlyMap<string, Member>} members
 */
export function membersBy(by: "id" | "subject" | undefined, members: ReadonlyMap<string, Member>): Map<string, Member>;
/** @typedef {{id: string, subject?: string, info: any}} Member */
/** @extends {Emitter<{join: (member: Member) => void, change: (member: Member) => void, leave: (member: Member) => void}>} */
export class Presence extends Emitter<{
    join: (member: Member) => void;
    change: (member: Member) => void;
    leave: (member: Member) => void;
}, any> {
    /**
     * @param {{retained: (event: string, room: string) => ReadonlyMap<string, Member>, onEnvelope: (handler: (envelope: any) => void) => () => void}} socket
     * @param {string} room
     * @param {'id'|'subject'} [by]
     */
    constructor(socket: {
        retained: (event: string, room: string) => ReadonlyMap<string, Member>;
        onEnvelope: (handler: (envelope: any) => void) => () => void;
    }, room: string, by?: "id" | "subject");
    /** Stop watching. */
    close: () => void;
    /** Who is there now. @returns {Member[]} */
    get members(): Member[];
    #private;
}
export type Member = {
    id: string;
    subject?: string;
    info: any;
};
import { Emitter } from './emitter.js';
