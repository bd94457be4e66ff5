/**
 * rtpush for React 18 and newer.
 *
 * Rules that hold here:
 * - The application creates the socket once, outside of components.
 * - All components that use the tasks of one socket share one list.
 */

import { useEffect, useRef, useSyncExternalStore } from 'react';

import { credentialsOf } from './rtpush/credentials.js';
import { readLog } from './rtpush/endpoint.js';
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
