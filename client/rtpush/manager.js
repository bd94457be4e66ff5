/**
 * `socket.io`, which Socket.IO calls the manager: the options, and events of the connection.
 */

import { Emitter } from './emitter.js';

/** @typedef {import('./options.js').Options} Options */
/** @typedef {import('./socket.js').Socket} Socket */

export class Manager extends Emitter {
  /**
   * @param {Options} opts
   * @param {Socket} socket
   */
  constructor(opts, socket) {
    super();
    this.opts = opts;
    this.uri = opts.base;
    this.connect = this.open = () => socket.connect();
    /** The transport, by Socket.IO's names. */
    this.engine = {
      transport: {
        get name() {
          return socket.transport && (socket.transport === 'websocket' ? 'websocket' : 'polling');
        },
      },
    };
  }
}
