/**
 * What 512 NUL-padded bytes can carry. The length of a payload is not on the wire: the original
 * server counts characters after taking off trailing NULs, the original client counts bytes in its
 * first packet and characters in all others, and both move their sequence number by that count.
 */
import { utf8SequenceBytes } from "../../base/utf8.ts";
import { TCPLIKE_PAYLOAD_BYTES } from "./tcplike-wire.ts";

/** Code points in `bytes`, or `undefined` if they are not valid UTF-8. */
export function countCodePoints(bytes: Uint8Array): number | undefined {
  let count = 0;
  for (let at = 0; at < bytes.length; count++) {
    const size = utf8SequenceBytes(bytes, at);
    if (size === 0) return undefined;
    at += size;
  }
  return count;
}

/** Bytes of `bytes` without the NULs at its end. */
export function strippedLength(bytes: Uint8Array): number {
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length--;
  return length;
}

/**
 * Where the chunk that starts at `from` ends: at most 512 bytes on, not inside a character, and not
 * behind a NUL, which the receiver would take for padding. Returns `from` if there is no such place.
 */
export function chunkEnd(input: Uint8Array, from: number): number {
  let end = Math.min(from + TCPLIKE_PAYLOAD_BYTES, input.length);
  if (end < input.length) while (end > from && (input[end] & 0xc0) === 0x80) end--;
  while (end > from && input[end - 1] === 0) end--;
  return end;
}

/** Why an input cannot be sent to an original server, and at which byte; `undefined` if it can. */
export interface InputProblem {
  readonly kind: "not-utf8" | "nul-at-end" | "nul-run";
  readonly offset: number;
}

/** Looks for the first thing in `input` that the original server would lose or die of. */
export function findInputProblem(input: Uint8Array): InputProblem | undefined {
  for (let at = 0; at < input.length;) {
    const size = utf8SequenceBytes(input, at);
    if (size === 0) return { kind: "not-utf8", offset: at };
    at += size;
  }
  for (let at = 0; at < input.length;) {
    const end = chunkEnd(input, at);
    if (end === at) {
      const rest = strippedLength(input.subarray(at));
      return { kind: rest === 0 ? "nul-at-end" : "nul-run", offset: at };
    }
    at = end;
  }
  return undefined;
}

/** What a received payload shows: bytes and characters without trailing NULs. */
export interface PayloadShape {
  /** Bytes up to the last one that is not NUL. */
  readonly strippedBytes: number;
  /** Characters in them; the bytes themselves if they are not UTF-8. */
  readonly characters: number;
  /** Whether the payload is full and its last character is cut: the sender had more than 512 bytes. */
  readonly isCut: boolean;
}

/** Measures a payload of 512 bytes. */
export function payloadShape(payload: Uint8Array): PayloadShape {
  const strippedBytes = strippedLength(payload);
  let characters = 0;
  for (let at = 0; at < strippedBytes; characters++) {
    const size = utf8SequenceBytes(payload, at);
    // A character that does not fit any more looks invalid only because its end is missing.
    if (size === 0) {
      const isCut = strippedBytes === TCPLIKE_PAYLOAD_BYTES && isCutCharacter(payload, at);
      return { strippedBytes, characters: strippedBytes, isCut };
    }
    at += size;
  }
  return { strippedBytes, characters, isCut: false };
}

function isCutCharacter(payload: Uint8Array, at: number): boolean {
  const rest = payload.length - at;
  if (rest > 3) return false;
  const first = payload[at];
  const size = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  return rest < size && payload.subarray(at + 1).every((byte) => (byte & 0xc0) === 0x80);
}

/**
 * The counts a client may have had in mind for a payload, most likely first. The client takes only
 * the acknowledgement of its own count, so they can be tried one after the other.
 *
 * First what the original server would say. Then, for the first packet, the bytes (the original
 * client counts those there). Then a full chunk with NULs at its end, then one NUL more each.
 */
export function countGuesses(shape: PayloadShape, isFirst: boolean): number[] {
  const { strippedBytes, characters } = shape;
  const guesses = new Set([characters]);
  if (isFirst) guesses.add(strippedBytes);
  guesses.add(TCPLIKE_PAYLOAD_BYTES);
  const from = isFirst ? strippedBytes : characters;
  for (let nuls = 1; nuls <= TCPLIKE_PAYLOAD_BYTES - strippedBytes; nuls++) guesses.add(from + nuls);
  return [...guesses];
}

/**
 * Bytes of the payload that belong to the file when the client counted `count`, or `undefined` if
 * no 512 bytes can hold that many: then the client cut the payload and its end is lost.
 */
export function payloadBytes(shape: PayloadShape, isFirst: boolean, count: number): number | undefined {
  const { strippedBytes, characters, isCut } = shape;
  if (isCut || count < characters) return undefined;
  if (count === characters) return strippedBytes;
  const bytes = isFirst && count >= strippedBytes ? count : strippedBytes + (count - characters);
  return bytes <= TCPLIKE_PAYLOAD_BYTES ? bytes : undefined;
}
