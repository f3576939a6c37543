/**
 * The datagrams of the file fetch: the client sends a file name, the server the file in datagrams of
 * 2048 bytes, the last one shorter. Nothing is numbered or acknowledged. Source: docs/classic/fetch.md.
 */
import { decodeUtf8, encodeUtf8 } from "../../base/utf8.ts";

/** Bytes of every datagram but the last, which is shorter. */
export const FETCH_CHUNK_BYTES = 2_048;

/** Longest request, in bytes: a file name and our question behind it. */
export const FETCH_REQUEST_BYTES = 1_024;

/**
 * What follows the name in our own question for the digest of a file just sent. No file name contains
 * a NUL, so no original can take it for one; it is only sent on request, since an original server may
 * not survive a name that it does not have.
 */
const QUESTION = "\0sha256";

/** A request as a server reads it. */
export interface FetchRequest {
  readonly name: string;
  readonly asksForDigest: boolean;
}

/** Reads a request, or returns `undefined` for what is not one. */
export function decodeFetchRequest(bytes: Uint8Array): FetchRequest | undefined {
  if (bytes.length === 0 || bytes.length > FETCH_REQUEST_BYTES) return undefined;
  const text = decodeUtf8(bytes);
  if (text === undefined) return undefined;
  const asksForDigest = text.endsWith(QUESTION);
  const name = asksForDigest ? text.slice(0, -QUESTION.length) : text;
  return name === "" || name.includes("\0") ? undefined : { name, asksForDigest };
}

/** The bytes of a request. */
export function encodeFetchRequest(request: FetchRequest): Uint8Array {
  return encodeUtf8(request.name + (request.asksForDigest ? QUESTION : ""));
}

/** Size and SHA-256 (64 hexadecimal digits) of a file as it was sent, or that there is no such file. */
export type FetchVerdict =
  | { readonly isMissing: true }
  | { readonly isMissing: false; readonly sizeBytes: number; readonly digestHex: string };

/** The bytes of the answer to our question. */
export function encodeFetchVerdict(verdict: FetchVerdict): Uint8Array {
  return encodeUtf8(verdict.isMissing ? "\0missing" : `\0sha256 ${verdict.sizeBytes} ${verdict.digestHex}`);
}

/** Reads an answer, or returns `undefined` for anything else, for example a late piece of the file. */
export function decodeFetchVerdict(bytes: Uint8Array): FetchVerdict | undefined {
  if (bytes.length > 100) return undefined;
  const text = decodeUtf8(bytes) ?? "";
  if (text === "\0missing") return { isMissing: true };
  // oxlint-disable-next-line no-control-regex -- the NUL is part of the answer
  const match = /^\u0000sha256 (\d{1,15}) ([0-9a-f]{64})$/.exec(text);
  return match === null ? undefined : { isMissing: false, sizeBytes: Number(match[1]), digestHex: match[2] };
}
