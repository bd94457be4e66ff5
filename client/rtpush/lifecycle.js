/**
 * Page lifecycle: tell connections when the browser hides, shows, freezes or
 * caches the page, and when the network goes or comes.
 *
 * Rules that hold here:
 * - The connection closes on `pagehide`. A browser keeps no page with an open
 *   connection in its back-forward cache; a page without one comes back as it was.
 * - The listeners are on the window and capture: some of these events go to the
 *   window and some to the document, and not all of them bubble.
 */

/** Connections to tell. @type {Set<{resume(): void, suspend(): void, offline(): void}>} */
export const connections = new Set();

/** @param {string} type of a DOM event */
function notify(type) {
  for (const connection of connections) {
    if (type === 'offline') connection.offline();
    else if (type === 'pagehide') connection.suspend();
    else if (type !== 'visibilitychange' || !document.hidden) connection.resume();
  }
}

if (globalThis.document) {
  for (const type of ['online', 'offline', 'pageshow', 'pagehide', 'resume', 'visibilitychange']) {
    addEventListener(type, () => notify(type), true);
  }
}
