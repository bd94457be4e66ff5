export type EventsMap = {
    [event: string]: any;
};
export type DefaultEventsMap = {
    [event: string]: (...args: any[]) => void;
};
/**
 * The names of a map's events.
 */
export type EventNames<Events extends EventsMap> = keyof Events & string;
/**
 * The listener of an event: one of the object's own, or one of the application's.
 */
export type ListenerOf<Events extends EventsMap, Own extends EventsMap, Name extends string> = Name extends keyof Own ? Own[Name] : Name extends keyof Events ? Events[Name] : never;
/**
 * The arguments of an event.
 */
export type ArgumentsOf<Events extends EventsMap, Name extends EventNames<Events>> = Parameters<Events[Name]>;
/**
 * The arguments of an event without the callback at their end.
 */
export type WithoutCallback<Args extends any[]> = Args extends [...infer Rest, (...args: any[]) => any] ? Rest : Args;
/**
 * What the callback of an event is called with first, errors apart.
 */
export type AnswerOf<Args extends any[]> = Args extends [...any[], (...args: infer Answer) => any] ? (Answer[0] extends Error ? Answer[1] : Answer[0]) : any;
/**
 * Events whose callbacks get an error first, as after `timeout`.
 */
export type WithErrors<Events extends EventsMap> = { [Name in keyof Events]: Events[Name] extends (...args: infer Args) => infer Result ? (...args: WithErrorFirst<Args>) => Result : Events[Name]; };
export type WithErrorFirst<Args extends any[]> = Args extends [...infer Rest, (...args: infer Answer) => infer Result] ? [...Rest, (error: Error, ...args: Answer) => Result] : Args;
/**
 * The events of the socket itself.
 */
export type SocketEvents = {
    connect: () => void;
    connect_error: (error: import("./outbox.js").RtpushError) => void;
    disconnect: (reason: string, details: {
        description: string;
        code: number;
        retry_after?: number;
    }) => void;
};
