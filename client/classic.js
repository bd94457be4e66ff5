/** The classic script: sets `window.io`, as Socket.IO's script does, and `window.rtpush`. */

import { Manager, Socket, io, protocol } from './rtpush.js';

Object.assign(globalThis, { io, rtpush: Object.assign(io, { io, connect: io, Manager, Socket, protocol }) });
