export class Leader {
    /** @param {SharedConnection} tab whose cursor it starts at */
    constructor(tab: SharedConnection);
    channel: BroadcastChannel;
    connection: Connection;
    stop(): void;
    #private;
}
export type Session = import("./connection.js").Session;
export type Rooms = import("./endpoint.js").Rooms;
export type SharedConnection = import("./shared.js").SharedConnection;
export type TransportName = import("./transports.js").TransportName;
/**
 * What a leader tells of its connection: the session, the transport, the number of
 * attempts, and the position from which it reads.
 */
export type ConnectedArgs = [Session, TransportName, number, string | null];
import { Connection } from './connection.js';
