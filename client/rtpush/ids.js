/**
 * Identifiers that two devices cannot both choose.
 *
 * Rules that hold here:
 * - `crypto.randomUUID` is missing on plain-http LAN addresses, which is where
 *   a second device usually is; `getRandomValues` is there always.
 */

/** @returns {string} 128 random bits, in hexadecimal */
export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
