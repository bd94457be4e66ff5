/**
 * Random identifiers.
 *
 * Rules that hold here:
 * - Browsers offer `crypto.randomUUID` only on https and localhost. A second device
 *   usually opens the page by plain http over the LAN, where there is only
 *   `getRandomValues`.
 */

/** @returns {string} 128 random bits, in hexadecimal */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
