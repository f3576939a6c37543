/**
 * Reading and writing bytes in place. All integers are big-endian; variable-length integers follow
 * RFC 9000 §16, limited to 2^53 - 1 so that every value is an exact JavaScript number.
 */
import { assert } from "./assert.ts";
import { DecodeError } from "./errors.ts";

/** Largest value a variable-length integer may carry here (RFC 9000 allows 2^62 - 1). */
export const VARINT_MAX = Number.MAX_SAFE_INTEGER;

/** Bytes a value takes as a variable-length integer: 1, 2, 4 or 8. RFC 9000 §16, table 4. */
export function varintSize(value: number): number {
  if (value < 0x40) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x4000_0000) return 4;
  return 8;
}

/**
 * Writes `value` as a variable-length integer at `at` and returns the offset behind it.
 *
 * @throws InvariantError if `value` is negative, fractional or above 2^53 - 1.
 */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  if (value < 0x40) {
    assert(value >= 0 && Number.isInteger(value), "varint must be a non-negative integer");
    bytes[at] = value;
    return at + 1;
  }
  if (value < 0x4000) {
    bytes[at] = 0x40 | (value >>> 8);
    bytes[at + 1] = value;
    return at + 2;
  }
  if (value < 0x4000_0000) {
    bytes[at] = 0x80 | (value >>> 24);
    bytes[at + 1] = value >>> 16;
    bytes[at + 2] = value >>> 8;
    bytes[at + 3] = value;
    return at + 4;
  }
  assert(Number.isSafeInteger(value), "varint must be a safe integer");
  const high = Math.floor(value / 0x1_0000_0000);
  bytes[at] = 0xc0 | (high >>> 24);
  bytes[at + 1] = high >>> 16;
  bytes[at + 2] = high >>> 8;
  bytes[at + 3] = high;
  writeUint32(bytes, at + 4, value);
  return at + 8;
}

/** Writes the low 16 bits of `value` at `at`. */
export function writeUint16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Writes the low 32 bits of `value`, a safe integer, at `at`. */
export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Reads 16 bits at `at`. */
export function readUint16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

/** Reads 32 bits at `at` as an unsigned number. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

/** Whether two byte strings are equal. Not for secrets: takes time that depends on the contents. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Joins byte strings into a new one. */
export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Character codes of the two digits of each byte, one after the other. */
const HEX_CODES = Uint8Array.from(
  Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0")).join(""),
  (digit) => digit.charCodeAt(0),
);

/** Bytes converted at once: so many arguments of a call are safe everywhere. */
const HEX_BLOCK_BYTES = 4_096;

/**
 * Lower-case hexadecimal form of `bytes`. Made in one piece: text put together digit by digit stays a tree
 * of pieces in the engine, which weighs a kilobyte for each key that is kept.
 */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (let from = 0; from < bytes.length; from += HEX_BLOCK_BYTES) {
    const end = Math.min(from + HEX_BLOCK_BYTES, bytes.length);
    // A plain array: the engine spreads a typed one through an iterator, at nine times the cost.
    const codes: number[] = [];
    for (let i = from; i < end; i++) codes.push(HEX_CODES[2 * bytes[i]], HEX_CODES[2 * bytes[i] + 1]);
    text += String.fromCharCode(...codes);
  }
  return text;
}

/** @throws DecodeError if `text` is not an even number of hexadecimal digits. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) throw new DecodeError("not hexadecimal", 0);
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

/**
 * Reads values one after the other from a byte string that it does not own.
 *
 * Every method throws DecodeError with the offset if the bytes end too early. A reader can be
 * pointed at other bytes with `reset`, so that a hot path needs one reader only.
 */
export class ByteReader {
  bytes: Uint8Array;
  /** Offset of the next byte to read. */
  at: number;
  /** Offset behind the last byte that may be read. */
  end: number;

  constructor(bytes: Uint8Array, at = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Points the reader at `bytes[at..end)`. */
  reset(bytes: Uint8Array, at: number, end: number): void {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  /** Bytes left. */
  get remaining(): number {
    return this.end - this.at;
  }

  private need(count: number): void {
    if (this.end - this.at < count)
      throw new DecodeError(`needs ${count} bytes, has ${this.end - this.at}`, this.at);
  }

  uint8(): number {
    this.need(1);
    return this.bytes[this.at++];
  }

  uint16(): number {
    this.need(2);
    const value = readUint16(this.bytes, this.at);
    this.at += 2;
    return value;
  }

  uint32(): number {
    this.need(4);
    const value = readUint32(this.bytes, this.at);
    this.at += 4;
    return value;
  }

  /** Reads a variable-length integer, RFC 9000 §16. @throws DecodeError above 2^53 - 1. */
  varint(): number {
    this.need(1);
    const { bytes, at } = this;
    const first = bytes[at];
    const size = 1 << (first >>> 6);
    this.need(size);
    this.at = at + size;
    if (size === 1) return first;
    if (size === 2) return ((first & 0x3f) << 8) | bytes[at + 1];
    const high = (readUint32(bytes, at) & 0x3fff_ffff) >>> 0;
    if (size === 4) return high;
    if (high > 0x1f_ffff) throw new DecodeError("variable-length integer above 2^53 - 1", at);
    return high * 0x1_0000_0000 + readUint32(bytes, at + 4);
  }

  /** A view (not a copy) of the next `count` bytes. */
  view(count: number): Uint8Array {
    this.need(count);
    const view = this.bytes.subarray(this.at, this.at + count);
    this.at += count;
    return view;
  }

  /** A copy of the next `count` bytes. */
  copy(count: number): Uint8Array {
    return this.view(count).slice();
  }

  /** Bytes preceded by their length as a variable-length integer, copied. @throws DecodeError above `maxBytes`. */
  lengthPrefixed(maxBytes: number): Uint8Array {
    const at = this.at;
    const length = this.varint();
    if (length > maxBytes) throw new DecodeError(`length ${length} is over the limit of ${maxBytes}`, at);
    return this.copy(length);
  }

  /** @throws DecodeError if bytes are left over. */
  finish(): void {
    if (this.at !== this.end) throw new DecodeError(`${this.end - this.at} bytes left over`, this.at);
  }
}

/** Collects values in a buffer that grows. For control messages; the packet path writes in place instead. */
export class ByteWriter {
  private buffer: Uint8Array;
  private length = 0;

  constructor(initialBytes = 256) {
    this.buffer = new Uint8Array(initialBytes);
  }

  private room(count: number): number {
    const at = this.length;
    if (at + count > this.buffer.length) {
      const grown = new Uint8Array(Math.max(this.buffer.length * 2, at + count));
      grown.set(this.buffer.subarray(0, at));
      this.buffer = grown;
    }
    this.length = at + count;
    return at;
  }

  /** Bytes written so far. */
  get size(): number {
    return this.length;
  }

  uint8(value: number): this {
    const at = this.room(1);
    this.buffer[at] = value;
    return this;
  }

  uint16(value: number): this {
    const at = this.room(2);
    writeUint16(this.buffer, at, value);
    return this;
  }

  uint32(value: number): this {
    const at = this.room(4);
    writeUint32(this.buffer, at, value);
    return this;
  }

  varint(value: number): this {
    const at = this.room(varintSize(value));
    writeVarint(this.buffer, at, value);
    return this;
  }

  raw(bytes: Uint8Array): this {
    const at = this.room(bytes.length);
    this.buffer.set(bytes, at);
    return this;
  }

  /** Bytes preceded by their length as a variable-length integer. */
  lengthPrefixed(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }
}
