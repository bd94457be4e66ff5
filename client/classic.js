/** The classic script: sets `window.io`, as Socket.IO's script does, and `window.rtpush`. */

import { Manager, Socket, io, protocol } from './rtpush.js';
import { origin } from './rtpush/options.js';

// Mounted at /live, the server gives it as /live/dist/rtpush.min.js.
const [, folder] = /** @type {any} */ (globalThis.document?.currentScript)?.src.match(/^(http.*\/)dist\/rtpush\.min\.js/) ?? [];
if (folder) origin.url = new URL(folder);

Object.assign(globalThis, { io, rtpush: Object.assign(io, { io, connect: io, Manager, Socket, protocol }) });
