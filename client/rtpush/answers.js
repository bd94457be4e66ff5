/**
 * Answers over HTTP, and what they mean for the client.
 *
 * Rules that hold here:
 * - An answer is the server's own only with an error code of the protocol. A
 *   maintenance page or a firewall may answer with any status, and passes: it ends
 *   no connection for good.
 */

/** @typedef {import('./transports.js').CloseDetails} CloseDetails */

/** `body`: null where it is no JSON; `error`: of the protocol, with a code; `retryAfter` in seconds.
 * @typedef {{status: number, body: any, error?: {code: string, message: string}, retryAfter?: number}} Answer */

// What refuses a client, and not only one request (PROTOCOL.md, section 9).
const REFUSES_CLIENT = /^(bad_\w+|too_many_rooms|not_authenticated|forbidden)$/;

/** @param {Response} response @returns {Promise<Answer>} */
export async function answerOf(response) {
  const { status, headers } = response;
  const body = await response.json().catch(() => null);
  const error = typeof body?.error?.code === 'string' ? body.error : undefined;
  return { status, body, error, retryAfter: error?.retry_after ?? (Number(headers.get('retry-after')) || undefined) };
}

/** Why a connection ends by an answer that is not the one expected. @param {Answer} answer @returns {CloseDetails} */
export function refusalOf({ status, error, retryAfter }) {
  const final = [400, 401, 403].includes(status) && REFUSES_CLIENT.test(error?.code ?? '');
  return { code: final ? 4000 + status : 1006, message: error?.message ?? `HTTP ${status}, and not from rtpush`, retryAfter };
}
