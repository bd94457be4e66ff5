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
export type Socket = import("./rtpush/socket.js").Socket;
export type Tasks = import("./rtpush/tasks.js").Tasks;
