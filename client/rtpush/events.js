/**
 * Types of events, as TypeScript programs for Socket.IO declare them: no code.
 *
 * Rules that hold here:
 * - A map has the arguments of each event, as the type of a function: `{hello: (name:
 *   string) => void}`. Without one, every name may have any arguments.
 */

/** @typedef {{[event: string]: any}} EventsMap */
/** @typedef {{[event: string]: (...args: any[]) => void}} DefaultEventsMap */

/**
 * The names of a map's events.
 * @template {EventsMap} Events
 * @typedef {keyof Events & string} EventNames
 */

/**
 * The listener of an event: one of the object's own, or one of the application's.
 * @template {EventsMap} Events
 * @template {EventsMap} Own
 * @template {string} Name
 * @typedef {Name extends keyof Own ? Own[Name] : Name extends keyof Events ? Events[Name] : never} ListenerOf
 */

/**
 * The arguments of an event.
 * @template {EventsMap} Events
 * @template {EventNames<Events>} Name
 * @typedef {Parameters<Events[Name]>} ArgumentsOf
 */

/**
 * The arguments of an event without the callback at their end.
 * @template {any[]} Args
 * @typedef {Args extends [...infer Rest, (...args: any[]) => any] ? Rest : Args} WithoutCallback
 */

/**
 * What the callback of an event is called with first, errors apart.
 * @template {any[]} Args
 * @typedef {Args extends [...any[], (...args: infer Answer) => any] ? (Answer[0] extends Error ? Answer[1] : Answer[0]) : any} AnswerOf
 */

/**
 * Events whose callbacks get an error first, as after `timeout`.
 * @template {EventsMap} Events
 * @typedef {{[Name in keyof Events]: Events[Name] extends (...args: infer Args) => infer Result ? (...args: WithErrorFirst<Args>) => Result : Events[Name]}} WithErrors
 */

/**
 * @template {any[]} Args
 * @typedef {Args extends [...infer Rest, (...args: infer Answer) => infer Result] ? [...Rest, (error: Error, ...args: Answer) => Result] : Args} WithErrorFirst
 */

/**
 * The events of the socket itself.
 * @typedef {object} SocketEvents
 * @property {() => void} connect
 * @property {(error: import('./outbox.js').RtpushError) => void} connect_error
 * @property {(reason: string, details: {description: string, code: number, retry_after?: number}) => void} disconnect
 */

export {};
