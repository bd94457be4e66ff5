/**
 * What this browser remembers: theme, language, the transport that worked.
 *
 * Rules that hold here:
 * - Storage may be forbidden, full or absent. Then nothing is remembered, and
 *   nothing else changes.
 */

/**
 * @param {'localStorage'|'sessionStorage'} area
 * @param {string} name
 * @returns {string|null}
 */
export function recall(area, name) {
  try {
    return window[area].getItem(`rtpush.${name}`);
  } catch {
    return null;
  }
}

/**
 * @param {'localStorage'|'sessionStorage'} area
 * @param {string} name
 * @param {string} value
 */
export function remember(area, name, value) {
  try {
    window[area].setItem(`rtpush.${name}`, value);
  } catch {
    // Forgetting is the worst that happens.
  }
}
