export class TaskList {
    /** @type {Tasks} */
    value: Tasks;
    /**
     * Apply an envelope to the lists.
     *
     * @param {Envelope} envelope
     * @returns {boolean} whether the lists have changed
     */
    apply(envelope: Envelope): boolean;
    #private;
}
export type Envelope = import("./transports.js").Envelope;
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
