export class TaskList {
    /** @type {Tasks} */
    value: Tasks;
    /**
     * @param {Envelope} envelope
     * @returns {boolean} whether it has changed anything
     */
    take(envelope: Envelope): boolean;
    #private;
}
export type Envelope = import("./wires.js").Envelope;
export type Task = {
    id: string | number;
    [field: string]: any;
};
/**
 * active ones oldest first, finished ones newest first
 */
export type Tasks = {
    tasks: Task[];
    finished: Task[];
};
