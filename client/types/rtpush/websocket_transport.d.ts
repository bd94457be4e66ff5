/** @typedef {import('./transports.js').Link} Link */
export class WebSocketTransport extends Transport {
    /** @param {Link} link */
    constructor(link: Link);
    #private;
}
export type Link = import("./transports.js").Link;
import { Transport } from './transports.js';
