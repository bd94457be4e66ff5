/**
 * Preferences in this browser's storage: theme, language.
 *
 * Rules that hold here:
 * - The browser may forbid storage, or it may be full or absent. Then the page
 *   stores nothing, and all else works.
 */

/**
 * @param {'localStorage'|'sessionStorage'} area
 * @param {string} name
 * @returns {string|null}
 */
export function load(area, name) {
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
export function save(area, name, value) {
  try {
    window[area].setItem(`rtpush.${name}`, value);
  } catch {
    // The page works without it.
  }
}
