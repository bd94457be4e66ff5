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
  const bytes = new Uint8Array(16);
  // Where there is no `crypto`, such as in Jest's pages, chance has to do: no id here is a secret.
  const random = globalThis.crypto?.getRandomValues(bytes) ?? bytes.map(() => Math.random() * 256);
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
