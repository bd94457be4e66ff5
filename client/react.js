/**
 * rtpush for React 18 and newer.
 *
 * Rules that hold here:
 * - The application creates the socket once, outside of components.
 * - All components that use the tasks of one socket share one list.
 */

import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react';

import { credentialsOf } from './rtpush/credentials.js';
import { readLog } from './rtpush/endpoint.js';
import { membersBy } from './rtpush/presence.js';
import { TaskList } from './rtpush/tasks.js';

/** @typedef {import('./rtpush/socket.js').Socket} Socket */
/** @typedef {import('./rtpush/tasks.js').Tasks} Tasks */

/** @type {WeakMap<Socket, TaskStore>} */
const stores = new WeakMap();

/**
 * The current tasks, active and recently finished.
 *
 * @param {Socket} socket
 * @returns {Tasks}
 */
export function useTasks(socket) {
  const store = stores.get(socket) ?? new TaskStore(socket);
  stores.set(socket, store);
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

/**
 * Call a function with each event of a name, while the component is mounted.
 *
 * @param {Socket} socket
 * @param {string} event
 * @param {(...args: any[]) => void} handler may change with each rendering; the newest one is called
 */
export function useEvent(socket, event, handler) {
  const newest = useRef(handler);
  useEffect(() => {
    newest.current = handler;
  });
  useEffect(() => {
    const listener = (/** @type {any[]} */ ...args) => newest.current(...args);
    socket.on(event, listener);
    return () => {
      socket.off(event, listener);
    };
  }, [socket, event]);
}

/**
 * What is retained of an event: its data by key.
 *
 * @param {Socket} socket
 * @param {string} event
 * @param {string} [room] that the socket is in; without one, what is for everybody
 * @returns {ReadonlyMap<string, any>}
 */
export function useRetained(socket, event, room) {
  const store = useMemo(() => new RetainedStore(socket, event, room), [socket, event, room]);
  return useSyncExternalStore(store.subscribe, store.get, store.get);
}

/**
 * Who is present in a room that the socket is in.
 *
 * @param {Socket} socket
 * @param {string} room
 * @param {{by?: 'id'|'subject'}} [options] by subject, the tabs of one person count as one
 * @returns {import('./rtpush/presence.js').Member[]}
 */
export function usePresence(socket, room, { by = 'id' } = {}) {
  const members = useRetained(socket, 'presence', room);
  return useMemo(() => [...membersBy(by, members).values()], [members, by]);
}

class RetainedStore {
  #read;
  /** @type {ReadonlyMap<string, any>} */
  #value;
  /** @type {(listener: () => void) => () => void} */
  subscribe;

  /**
   * @param {Socket} socket
   * @param {string} event
   * @param {string|undefined} room
   */
  constructor(socket, event, room) {
    this.#read = () => socket.retained(event, room);
    this.#value = this.#read();
    this.subscribe = (listener) => {
      // It may have changed since the component was rendered.
      this.#value = this.#read();
      return socket.onEnvelope((envelope) => {
        if (envelope.event !== event || envelope.room !== room) return;
        this.#value = this.#read();
        listener();
      });
    };
  }

  get = () => this.#value;
}

class TaskStore {
  #list = new TaskList();
  /** @type {Set<() => void>} */
  #listeners = new Set();

  /** @param {Socket} socket */
  constructor(socket) {
    socket.onEnvelope((envelope) => this.#apply(envelope));
    // The socket received its snapshot before this store existed.
    if (socket.connected) this.#read(socket);
  }

  /** @param {Socket} socket */
  async #read(socket) {
    try {
      const answer = await readLog(socket.io.opts, await credentialsOf(socket.auth), socket.rooms, null);
      answer?.events.forEach((envelope) => this.#apply(envelope));
    } catch {
      socket.once('connect', () => this.#read(socket));
    }
  }

  get = () => this.#list.value;

  /** @param {() => void} listener */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  };

  /** @param {import('./rtpush/transports.js').Envelope} envelope */
  #apply(envelope) {
    if (this.#list.apply(envelope)) this.#listeners.forEach((listener) => listener());
  }
}
