/** @param {Response} response @returns {Promise<Answer>} */
export function answerOf(response: Response): Promise<Answer>;
/** Why a connection ends by an answer that is not the one expected. @param {Answer} answer @returns {CloseDetails} */
export function refusalOf({ status, error, retryAfter }: Answer): CloseDetails;
export type CloseDetails = import("./transports.js").CloseDetails;
/**
 * `body`: null where it is no JSON; `error`: of the protocol, with a code; `retryAfter` in seconds.
 */
export type Answer = {
    status: number;
    body: any;
    error?: {
        code: string;
        message: string;
    };
    retryAfter?: number;
};
