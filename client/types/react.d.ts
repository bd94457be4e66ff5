/**
 * The current tasks, active and recently finished.
 *
 * @param {Socket} socket
 * @returns {Tasks}
 */
export function useTasks(socket: Socket): Tasks;
/**
 * Call a function with each event of a name, while the component is mounted.
 *
 * @param {Socket} socket
 * @param {string} event
 * @param {(...args: any[]) => void} handler may change with each rendering; the newest one is called
 */
export function useEvent(socket: Socket, event: string, handler: (...args: any[]) => void): void;
/**
 * What is retained of an event: its data by key.
 *
 * @param {Socket} socket
 * @param {string} event
 * @param {string} [room] that the socket is in; without one, what is for everybody
 * @returns {ReadonlyMap<string, any>}
 */
export function useRetained(socket: Socket, event: string, room?: string): ReadonlyMap<string, any>;
/**
 * Who is present in a room that the socket is in.
 *
 * @param {Socket} socket
 * @param {string} room
 * @param {{by?: 'id'|'subject'}} [options] by subject, the tabs of one person count as one
 * @returns {import('./rtpush/presence.js').Member[]}
 */
export function usePresence(socket: Socket, room: string, { by }?: {
    by?: "id" | "subject";
}): import("./rtpush/presence.js").Member[];
export type Socket = import("./rtpush/socket.js").Socket;
export type Tasks = import("./rtpush/tasks.js").Tasks;
