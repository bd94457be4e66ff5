/**
 * @param {import('./options.js').Options} options
 * @param {{sid: string|null, cursor: import('./cursor.js').Cursor}} session
 * @param {import('./credentials.js').Credentials} credentials
 * @param {boolean} [goodbye] whether to say that the page is left
 */
export function partingOf(options: import("./options.js").Options, { sid, cursor }: {
    sid: string | null;
    cursor: import("./cursor.js").Cursor;
}, credentials: import("./credentials.js").Credentials, goodbye?: boolean): Parting;
export class Parting {
    /**
     * @param {URL} address
     * @param {import('./credentials.js').Credentials} credentials
     * @param {RequestCredentials} cookies whether a request to another origin carries them
     */
    constructor(address: URL, credentials: import("./credentials.js").Credentials, cookies: RequestCredentials);
    /** @param {string[]} texts envelopes as JSON */
    send(texts: string[]): void;
    #private;
}
