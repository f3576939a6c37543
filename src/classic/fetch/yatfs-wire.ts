/**
 * The datagrams of YATFS, the reliable sibling of the file fetch: tuples of three as Python's pickle
 * (protocol 4) writes them. Unpickling runs whatever the bytes say; here only the few opcodes that the
 * original programs use are read, in the one order that they use. Source: docs/classic/fetch.md.
 */
import { decodeUtf8, encodeUtf8 } from "../../base/utf8.ts";

/** Largest chunk that fits a datagram with everything around it. */
export const YATFS_CHUNK_MAX = 65_000;

/** Largest offset: four signed bytes, the widest of the number opcodes. */
export const YATFS_OFFSET_MAX = 0x7fff_ffff;

/** Reply status: data follows. */
export const YATFS_OK = 0;
/** Reply status: no such file. */
export const YATFS_NO_FILE = 1;
/** Reply status: offset beyond the end. */
export const YATFS_BAD_OFFSET = 2;

/** What a client asks. */
export interface YatfsRequest {
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

/** What a server answers. */
export interface YatfsReply {
  readonly status: number;
  readonly count: number;
  readonly data: Uint8Array;
}

// Opcodes, from CPython's pickletools.
const PROTO = 0x80;
const FRAME = 0x95;
const MEMOIZE = 0x94;
const SHORT_BINUNICODE = 0x8c;
const BININT1 = 0x4b;
const BININT2 = 0x4d;
const BININT = 0x4a;
const SHORT_BINBYTES = 0x43;
const BINBYTES = 0x42;
const TUPLE3 = 0x87;
const STOP = 0x2e;

/** The bytes of a request. The name has at most 255 bytes. */
export function encodeYatfsRequest({ name, offset, size }: YatfsRequest): Uint8Array {
  const text = encodeUtf8(name);
  return frame([SHORT_BINUNICODE, text.length, ...text, MEMOIZE, ...number(offset), ...number(size)]);
}

/** The bytes of a reply. */
export function encodeYatfsReply({ status, count, data }: YatfsReply): Uint8Array {
  const length =
    data.length < 0x100
      ? [SHORT_BINBYTES, data.length]
      : [BINBYTES, data.length & 0xff, (data.length >> 8) & 0xff, data.length >> 16, 0];
  return frame([...number(status), ...number(count), ...length], data, [MEMOIZE]);
}

/** Reads a request, or returns `undefined` for anything else. */
export function decodeYatfsRequest(bytes: Uint8Array): YatfsRequest | undefined {
  const reader = new Reader(bytes);
  reader.head();
  const name = decodeUtf8(reader.bytesOf(SHORT_BINUNICODE));
  const offset = reader.number();
  const size = reader.number();
  return reader.isWhole() && name !== undefined ? { name, offset, size } : undefined;
}

/** Reads a reply, or returns `undefined`. Errors may carry text instead of bytes, as the original's first do. */
export function decodeYatfsReply(bytes: Uint8Array): YatfsReply | undefined {
  const reader = new Reader(bytes);
  reader.head();
  const status = reader.number();
  const count = reader.number();
  const data = reader.bytesOf(SHORT_BINBYTES, BINBYTES, SHORT_BINUNICODE);
  return reader.isWhole() ? { status, count, data } : undefined;
}

function number(value: number): number[] {
  if (value >= 0 && value < 0x100) return [BININT1, value];
  if (value >= 0 && value < 0x1_0000) return [BININT2, value & 0xff, value >> 8];
  return [BININT, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff];
}

function frame(
  before: readonly number[],
  data: Uint8Array = new Uint8Array(0),
  after: readonly number[] = [],
): Uint8Array {
  const tail = [...after, TUPLE3, MEMOIZE, STOP];
  const bytes = new Uint8Array(2 + 9 + before.length + data.length + tail.length);
  bytes.set([PROTO, 4, FRAME]);
  new DataView(bytes.buffer).setUint32(3, bytes.length - 11, true);
  bytes.set(before, 11);
  bytes.set(data, 11 + before.length);
  bytes.set(tail, 11 + before.length + data.length);
  return bytes;
}

/** Reads opcodes in a fixed order; the first that does not fit makes everything else fail. */
class Reader {
  private readonly bytes: Uint8Array;
  private at = 0;
  private isBad = false;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  head(): void {
    if (this.byte() !== PROTO || this.byte() !== 4) this.isBad = true;
    // Tuples of less than four bytes have no frame; these have more.
    if (this.byte() !== FRAME) this.isBad = true;
    const low = this.littleEndian(4);
    if (this.littleEndian(4) !== 0 || low !== this.bytes.length - this.at) this.isBad = true;
  }

  number(): number {
    const opcode = this.byte();
    if (opcode === BININT1) return this.byte();
    if (opcode === BININT2) return this.littleEndian(2);
    if (opcode === BININT) return this.littleEndian(4) | 0;
    this.isBad = true;
    return 0;
  }

  bytesOf(...opcodes: readonly number[]): Uint8Array {
    const opcode = this.byte();
    const length = opcode === BINBYTES ? this.littleEndian(4) : this.byte();
    if (!opcodes.includes(opcode) || length > this.bytes.length - this.at) {
      this.isBad = true;
      return new Uint8Array(0);
    }
    const from = this.at;
    this.at += length;
    this.skipMemoize();
    return this.bytes.subarray(from, from + length);
  }

  /** Whether the tuple is closed, nothing follows, and everything before was as expected. */
  isWhole(): boolean {
    if (this.byte() !== TUPLE3) this.isBad = true;
    this.skipMemoize();
    return this.byte() === STOP && this.at === this.bytes.length && !this.isBad;
  }

  private skipMemoize(): void {
    if (this.bytes[this.at] === MEMOIZE) this.at++;
  }

  private byte(): number {
    if (this.at >= this.bytes.length) {
      this.isBad = true;
      return 0;
    }
    return this.bytes[this.at++];
  }

  private littleEndian(size: number): number {
    let value = 0;
    for (let i = 0; i < size; i++) value += this.byte() * 2 ** (8 * i);
    return value;
  }
}
