/**
 * The life of a page, for its connections: it is hidden and shown, put away and
 * taken out again, sleeps and wakes, loses its network and finds one.
 *
 * Rules that hold here:
 * - A page that was put away with a connection open would not be kept by the
 *   browser; one that has closed it comes back as it was.
 * - Some of these events are the window's, some the document's, and not all of
 *   them bubble: only on its way down does each pass the window.
 */

/** Connections that are to be told of it. @type {Set<{wake(): void, rest(): void, cut(): void}>} */
export const watched = new Set();

/** @param {string} type */
function told(type) {
  for (const connection of watched) {
    if (type === 'offline') connection.cut();
    else if (type === 'pagehide') connection.rest();
    else if (type !== 'visibilitychange' || !document.hidden) connection.wake();
  }
}

if (globalThis.document) {
  for (const type of ['online', 'offline', 'pageshow', 'pagehide', 'resume', 'visibilitychange']) {
    addEventListener(type, () => told(type), true);
  }
}
