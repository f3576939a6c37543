/** Parts that several control messages have: texts, counts, choices and failure codes, each with its bound. */
import type { ByteReader, ByteWriter } from "../base/bytes.ts";
import type { ErrorCode } from "../base/errors.ts";
import { DecodeError, errorCodeFromWire } from "../base/errors.ts";
import { PEER_TEXT_BYTES } from "../base/limits.ts";
import { decodeUtf8, decodeUtf8Lossy, encodeUtf8 } from "../base/utf8.ts";

/** Bytes of a transfer id and of a source token. */
export const ID_BYTES = 16;

/** Text with its length in front. */
export function writeText(writer: ByteWriter, value: string): void {
  writer.lengthPrefixed(encodeUtf8(value));
}

/** Text for people with its length in front: cut to what the peer accepts. */
export function writePeerText(writer: ByteWriter, value: string): void {
  let bytes = encodeUtf8(value);
  if (bytes.length > PEER_TEXT_BYTES)
    bytes = encodeUtf8(decodeUtf8Lossy(bytes.subarray(0, PEER_TEXT_BYTES - 3)));
  writer.lengthPrefixed(bytes.subarray(0, PEER_TEXT_BYTES));
}

/** Reads what `writeText` wrote. @throws DecodeError for more than `maxBytes` or bytes that are not UTF-8. */
export function readText(reader: ByteReader, maxBytes: number): string {
  const at = reader.at;
  const value = decodeUtf8(reader.lengthPrefixed(maxBytes));
  if (value === undefined) throw new DecodeError("text that is not valid UTF-8", at);
  return value;
}

/** Reads text for people; bytes that are not UTF-8 are replaced. @throws DecodeError for too many. */
export function readPeerText(reader: ByteReader): string {
  return decodeUtf8Lossy(reader.lengthPrefixed(PEER_TEXT_BYTES));
}

/** Reads a number. @throws DecodeError for one over `max`. */
export function readCount(reader: ByteReader, max: number): number {
  const at = reader.at;
  const count = reader.varint();
  if (count > max) throw new DecodeError(`${count} items are over the limit of ${max}`, at);
  return count;
}

/** Reads a choice by its index. @throws DecodeError for one this version does not have. */
export function readChoice<T>(reader: ByteReader, choices: readonly T[]): T {
  const at = reader.at;
  const index = reader.uint8();
  if (index >= choices.length) throw new DecodeError(`unknown choice ${index}`, at);
  return choices[index];
}

/** Reads a failure code; one this version does not know counts as a broken protocol rule of its sender. */
export function readCode(reader: ByteReader): ErrorCode {
  return errorCodeFromWire(reader.varint()) ?? "PROTOCOL_VIOLATION";
}
