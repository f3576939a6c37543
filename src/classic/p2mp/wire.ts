/**
 * The two wires of the point-to-multipoint system. docs/classic/p2mp.md#wire
 *
 * `ascii` is the original's: every bit is a character `0` or `1`. `binary` is the header of the
 * course's own text: eight bytes, big-endian.
 */
import { readUint16, readUint32, writeUint16, writeUint32 } from "../../base/bytes.ts";

/** Name of an encoding, as `--encoding` takes it. */
export type EncodingName = "ascii" | "binary";

/** A message as it stands in a datagram. */
export type P2mpMessage =
  | {
      readonly type: "data";
      readonly sequence: number;
      readonly payload: Uint8Array;
      /** Whether the checksum fits. */
      readonly isIntact: boolean;
    }
  | { readonly type: "ack"; readonly sequence: number }
  | { readonly type: "end"; readonly sequence: number };

/** One of the two wires. */
export interface P2mpEncoding {
  readonly name: EncodingName;
  /** Sequence number of the first packet. */
  readonly firstSequence: number;
  /** Whether the sender says when the file ends. */
  readonly hasEnd: boolean;
  readonly data: (sequence: number, payload: Uint8Array) => Uint8Array;
  readonly ack: (sequence: number) => Uint8Array;
  readonly end: (sequence: number) => Uint8Array;
  /** The message in a datagram, or `undefined` if it is none. */
  readonly parse: (bytes: Uint8Array) => P2mpMessage | undefined;
}

/** Payload bytes at most: the original receives 16 384 characters, 64 of them header, 8 for each byte. */
export const MAX_SEGMENT_BYTES = (16_384 - 64) / 8;

/** Largest sequence number: 32 bits. */
export const LAST_SEQUENCE = 0xffff_ffff;

const TYPE_DATA = 0x5555;
const TYPE_ACK = 0xaaaa;
/** End of file in the binary form, echoed by the receiver. */
const TYPE_END = 0xffff;

const HEADER_BYTES = 8;
const HEADER_BITS = 64;
const ZERO = 0x30;

/** Ones' complement sum of 16-bit words, RFC 1071 §1, of `bytes[0..end)`; `end` is even. */
function addWords(sum: number, bytes: Uint8Array, end: number): number {
  for (let at = 0; at < end; at += 2) {
    sum += readUint16(bytes, at);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

/**
 * Checksum of the original: sequence number, type and payload. An odd last byte is left out, so it
 * is not protected; that is part of the wire.
 */
export function asciiChecksum(sequence: number, type: number, payload: Uint8Array): number {
  const header = fold((sequence >>> 16) + (sequence & 0xffff) + type);
  return ~addWords(header, payload, payload.length & ~1) & 0xffff;
}

/**
 * Checksum of the binary form: RFC 1071 over the payload alone, except that an odd last byte counts
 * as a word by itself (0x000a, not 0x0a00), as the recorded program of this form has it.
 */
export function binaryChecksum(payload: Uint8Array): number {
  const even = payload.length & ~1;
  const sum = addWords(0, payload, even);
  return ~fold(even === payload.length ? sum : sum + payload[even]) & 0xffff;
}

function writeBits(target: Uint8Array, at: number, value: number, bits: number): void {
  for (let i = bits - 1; i >= 0; i--) target[at++] = ZERO + ((value >>> i) & 1);
}

/** The number that `bits` characters stand for, or -1 if one of them is neither `0` nor `1`. */
function readBits(bytes: Uint8Array, at: number, bits: number): number {
  let value = 0;
  for (let i = 0; i < bits; i++) {
    const bit = bytes[at + i] - ZERO;
    if (bit !== 0 && bit !== 1) return -1;
    value = value * 2 + bit;
  }
  return value;
}

function asciiPacket(sequence: number, type: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(HEADER_BITS + 8 * payload.length);
  writeBits(packet, 0, sequence, 32);
  writeBits(packet, 32, asciiChecksum(sequence, type, payload), 16);
  writeBits(packet, 48, type, 16);
  for (let i = 0; i < payload.length; i++) writeBits(packet, HEADER_BITS + 8 * i, payload[i], 8);
  return packet;
}

function parseAscii(bytes: Uint8Array): P2mpMessage | undefined {
  if (bytes.length < HEADER_BITS) return undefined;
  const sequence = readBits(bytes, 0, 32);
  const checksum = readBits(bytes, 32, 16);
  const type = readBits(bytes, 48, 16);
  if (sequence < 0 || checksum < 0) return undefined;
  if (type === TYPE_ACK) {
    // The original sends valid ones only, so an acknowledgement that is not valid is damaged.
    if (bytes.length !== HEADER_BITS || checksum !== asciiChecksum(sequence, type, NOTHING)) return undefined;
    return { type: "ack", sequence };
  }
  if (type !== TYPE_DATA) return undefined;
  // Characters at the end that do not fill a byte are ignored, as in the original.
  const payload = new Uint8Array((bytes.length - HEADER_BITS) >>> 3);
  for (let i = 0; i < payload.length; i++) {
    const byte = readBits(bytes, HEADER_BITS + 8 * i, 8);
    if (byte < 0) return undefined;
    payload[i] = byte;
  }
  return { type: "data", sequence, payload, isIntact: checksum === asciiChecksum(sequence, type, payload) };
}

function binaryPacket(sequence: number, checksum: number, type: number, payload: Uint8Array): Uint8Array {
  const packet = new Uint8Array(HEADER_BYTES + payload.length);
  writeUint32(packet, 0, sequence);
  writeUint16(packet, 4, checksum);
  writeUint16(packet, 6, type);
  packet.set(payload, HEADER_BYTES);
  return packet;
}

function parseBinary(bytes: Uint8Array): P2mpMessage | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const sequence = readUint32(bytes, 0);
  const checksum = readUint16(bytes, 4);
  const type = readUint16(bytes, 6);
  if (type === TYPE_DATA) {
    const payload = bytes.slice(HEADER_BYTES);
    return { type: "data", sequence, payload, isIntact: checksum === binaryChecksum(payload) };
  }
  if (bytes.length !== HEADER_BYTES || checksum !== 0) return undefined;
  if (type === TYPE_ACK) return { type: "ack", sequence };
  return type === TYPE_END ? { type: "end", sequence } : undefined;
}

const NOTHING = new Uint8Array(0);

/** Both wires by name. */
export const ENCODINGS: Readonly<Record<EncodingName, P2mpEncoding>> = {
  ascii: {
    name: "ascii",
    firstSequence: 1,
    hasEnd: false,
    data: (sequence, payload) => asciiPacket(sequence, TYPE_DATA, payload),
    ack: (sequence) => asciiPacket(sequence, TYPE_ACK, NOTHING),
    end: () => NOTHING,
    parse: parseAscii,
  },
  binary: {
    name: "binary",
    firstSequence: 0,
    hasEnd: true,
    data: (sequence, payload) => binaryPacket(sequence, binaryChecksum(payload), TYPE_DATA, payload),
    ack: (sequence) => binaryPacket(sequence, 0, TYPE_ACK, NOTHING),
    end: (sequence) => binaryPacket(sequence, 0, TYPE_END, NOTHING),
    parse: parseBinary,
  },
};

/** A sequence number as the original prints it: at least five digits. */
export function printedSequence(sequence: number): string {
  return String(sequence).padStart(5, "0");
}
