/** The four messages of the chunks system: text fields, one datagram each. docs/classic/chunks.md#wire */
import { concatBytes } from "../../base/bytes.ts";
import { decodeUtf8Lossy, encodeUtf8 } from "../../base/utf8.ts";
import type { ChunksEdition } from "./edition.ts";

/** A message as it stands in a datagram. */
export type ChunksMessage =
  | { readonly type: "start"; readonly sequence: number; readonly name: string; readonly sizeBytes: number }
  | { readonly type: "data"; readonly sequence: number; readonly payload: Uint8Array }
  | { readonly type: "ack"; readonly sequence: number; readonly bufferBytes: number | undefined }
  | { readonly type: "nack" };

/** Between fields. */
export type Separator = ChunksEdition["separator"];

const SPACE = 0x20;
const BAR = 0x7c;
const LETTER = { start: 0x73, data: 0x64, ack: 0x61, nack: 0x6e } as const;

/** Digits of a number at most: sixteen hold every safe integer. A longer one is not a message. */
const DIGITS = 16;

/** The separator a datagram uses, for servers that answer in the client's own form. */
export function separatorOf(bytes: Uint8Array): Separator {
  return bytes[1] === SPACE ? " | " : "|";
}

/** The message in a datagram, or `undefined` if it is none. A payload is a view, not a copy. */
export function parseMessage(bytes: Uint8Array, separator: Separator): ChunksMessage | undefined {
  if (!isSeparator(bytes, 1, separator)) return undefined;
  const first = 1 + separator.length;
  const second = findSeparator(bytes, first, separator);
  const letter = bytes[0];
  // Data is split twice only: the payload may contain separators.
  if (letter === LETTER.data) {
    const sequence = second < 0 ? undefined : parseNumber(bytes, first, second);
    if (sequence === undefined) return undefined;
    return { type: "data", sequence, payload: bytes.subarray(second + separator.length) };
  }
  const sequence = parseNumber(bytes, first, second < 0 ? bytes.length : second);
  if (sequence === undefined) return undefined;
  if (letter === LETTER.nack) return { type: "nack" };
  if (letter === LETTER.ack) {
    if (second < 0) return { type: "ack", sequence, bufferBytes: undefined };
    const bufferBytes = parseNumber(bytes, second + separator.length, bytes.length);
    return bufferBytes === undefined ? undefined : { type: "ack", sequence, bufferBytes };
  }
  if (letter !== LETTER.start || second < 0) return undefined;
  const name = second + separator.length;
  const third = findSeparator(bytes, name, separator);
  const sizeBytes = third < 0 ? undefined : parseNumber(bytes, third + separator.length, bytes.length);
  if (sizeBytes === undefined || sizeBytes < 0) return undefined;
  return { type: "start", sequence, name: decodeUtf8Lossy(bytes.subarray(name, third)), sizeBytes };
}

/** `s | seq0 | name | size` */
export function startMessage(
  separator: Separator,
  sequence: number,
  name: string,
  sizeBytes: number,
): Uint8Array {
  return encodeUtf8(["s", sequence, name, sizeBytes].join(separator));
}

/** What stands before the payload of data: `d | seq | `. */
export function dataHeader(separator: Separator, sequence: number): Uint8Array {
  return encodeUtf8(`d${separator}${sequence}${separator}`);
}

/** `d | seq | bytes` */
export function dataMessage(header: Uint8Array, payload: Uint8Array): Uint8Array {
  return concatBytes(header, payload);
}

/** `a | seq`, or `a | seq | buffer` */
export function ackMessage(separator: Separator, sequence: number, bufferBytes?: number): Uint8Array {
  const fields = bufferBytes === undefined ? ["a", sequence] : ["a", sequence, bufferBytes];
  return encodeUtf8(fields.join(separator));
}

/** `n|1`: the server has no room for another client. */
export function nackMessage(separator: Separator): Uint8Array {
  return encodeUtf8(["n", 1].join(separator));
}

function isSeparator(bytes: Uint8Array, at: number, separator: Separator): boolean {
  if (separator === "|") return bytes[at] === BAR;
  return bytes[at] === SPACE && bytes[at + 1] === BAR && bytes[at + 2] === SPACE;
}

function findSeparator(bytes: Uint8Array, from: number, separator: Separator): number {
  for (let at = from; at + separator.length <= bytes.length; at++)
    if (isSeparator(bytes, at, separator)) return at;
  return -1;
}

/** A decimal number with an optional sign, as the originals read it; `undefined` for anything else. */
function parseNumber(bytes: Uint8Array, from: number, to: number): number | undefined {
  const isSigned = bytes[from] === 0x2d || bytes[from] === 0x2b;
  const digits = isSigned ? from + 1 : from;
  if (to <= digits || to - digits > DIGITS) return undefined;
  let value = 0;
  for (let at = digits; at < to; at++) {
    const digit = bytes[at] - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  // Room above for every later sequence number of the session.
  if (value > Number.MAX_SAFE_INTEGER / 2) return undefined;
  return bytes[from] === 0x2d && value !== 0 ? -value : value;
}
