/** The text of a ping: `Ping 1 Sat Nov 21 06:12:07 2026`, answered in capitals. Source: docs/classic/heartbeat.md. */
import { encodeUtf8 } from "../../base/utf8.ts";

/** Longest text that counts as a ping, in bytes: what the original servers receive at once. */
const PING_BYTES_MAX = 1_024;

/** A ping's bytes. The word is `Ping` or `PING`, the time any text. */
export function pingBytes(word: string, sequence: number, time: string): Uint8Array {
  return encodeUtf8(`${word} ${sequence} ${time}`);
}

/** The sequence number of a ping or of its answer in any case, or `undefined` if it is neither. */
export function pingSequence(bytes: Uint8Array): number | undefined {
  if (bytes.length > PING_BYTES_MAX) return undefined;
  const match = /^ping[ \t]{1,8}(\d{1,9})(?!\d)/i.exec(asciiText(bytes.subarray(0, 32)));
  return match === null ? undefined : Number(match[1]);
}

/** The answer: the same bytes with a to z in capitals. */
export function pingAnswer(bytes: Uint8Array): Uint8Array {
  return Uint8Array.from(bytes, (byte) => (byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte));
}

/** Bytes as text, what is not ASCII as `?`. */
export function asciiText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : "?")).join("");
}
