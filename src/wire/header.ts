/**
 * Packet headers. Short headers (all protected data) are read and written in place without an
 * object; long headers (the handshake) are values. Source: docs/spec/wire.md §4 and §5.
 */
import { readUint32, writeUint32, ByteReader, ByteWriter } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import { HANDSHAKE_PAYLOAD_BYTES, TOKEN_BYTES } from "../base/limits.ts";
import { CONNECTION_ID_BYTES } from "./connection-id.ts";

/** Protocol version 1, "gdw" and 1. */
export const VERSION_1 = 0x6764_7701;

/** Versions this implementation speaks, best first. */
export const SUPPORTED_VERSIONS: readonly number[] = [VERSION_1];

/** Bytes of a short header: first byte, connection id, low half of the packet number. WIRE §4. */
export const SHORT_HEADER_BYTES = 13;

/** Offset of the destination connection id in a short header. */
export const SHORT_CONNECTION_ID_OFFSET = 1;

/** Offset of the packet number in a short header. */
export const SHORT_PACKET_NUMBER_OFFSET = 9;

/** Largest packet number. WIRE §4: the AEAD limits are reached long before. */
export const PACKET_NUMBER_MAX = Number.MAX_SAFE_INTEGER;

/** Smallest protected packet: header, one byte of frames, tag. Shorter ones are dropped unread. */
export const MIN_SHORT_PACKET_BYTES = SHORT_HEADER_BYTES + 1 + 16;

const LONG_BIT = 0x80;
const FIXED_BIT = 0x40;
const KEY_PHASE_BIT = 0x04;
const PSK_BIT = 0x08;
const TYPE_MASK = 0x07;
const LONG_RESERVED_MASK = 0x30;

/** Bytes of a long header before its token and payload. */
export const LONG_HEADER_BYTES = 5 + 2 * CONNECTION_ID_BYTES;

/** Whether the datagram at `offset` begins with a long header. The datagram must not be empty. */
export function isLongHeader(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset] & LONG_BIT) !== 0;
}

/** Whether a datagram can be a version 1 short-header packet; reserved bits must be zero. WIRE §4.2. */
export function isShortHeader(bytes: Uint8Array, offset: number, length: number): boolean {
  return length >= MIN_SHORT_PACKET_BYTES && (bytes[offset] & ~KEY_PHASE_BIT) === FIXED_BIT;
}

/** Writes a short header at `offset`; it takes SHORT_HEADER_BYTES. `keyPhase` is 0 or 1. */
export function writeShortHeader(
  bytes: Uint8Array,
  offset: number,
  connectionId: Uint8Array,
  keyPhase: number,
  packetNumber: number,
): void {
  bytes[offset] = keyPhase === 0 ? FIXED_BIT : FIXED_BIT | KEY_PHASE_BIT;
  for (let i = 0; i < CONNECTION_ID_BYTES; i++) bytes[offset + 1 + i] = connectionId[i];
  writeUint32(bytes, offset + SHORT_PACKET_NUMBER_OFFSET, packetNumber);
}

/** The key phase bit of a short header: 0 or 1. */
export function readKeyPhase(bytes: Uint8Array, offset: number): number {
  return (bytes[offset] & KEY_PHASE_BIT) === 0 ? 0 : 1;
}

/** The low 32 bits of the packet number in a short header. */
export function readTruncatedPacketNumber(bytes: Uint8Array, offset: number): number {
  return readUint32(bytes, offset + SHORT_PACKET_NUMBER_OFFSET);
}

/**
 * The full packet number: the one with the given low 32 bits that is closest to the next expected.
 *
 * @param largest - Largest packet number opened so far, or -1.
 */
export function decodePacketNumber(truncated: number, largest: number): number {
  // RFC 9000 §A.3 with a window of 32 bits.
  const expected = largest + 1;
  const window = 0x1_0000_0000;
  const half = 0x8000_0000;
  // A quotient, exact below 2^53: the remainder of large numbers is one of the slowest things a processor does.
  const candidate = Math.floor(expected / window) * window + truncated;
  if (candidate <= expected - half && candidate <= PACKET_NUMBER_MAX - window) return candidate + window;
  if (candidate > expected + half && candidate >= window) return candidate - window;
  return candidate;
}

/** What a long-header packet is for. WIRE §5. */
export const LONG_TYPE = {
  init: 0,
  reply: 1,
  finish: 2,
  retry: 3,
  versions: 4,
  pair: 5,
  pairReply: 6,
} as const;

/** Version field of a VERSIONS packet, which belongs to no version. RFC 8999 §6. */
export const NO_VERSION = 0;

/** A long-header packet. */
export interface LongPacket {
  /** One of LONG_TYPE. */
  readonly type: number;
  /** Whether the handshake mixes in a pre-shared key. */
  readonly psk: boolean;
  readonly version: number;
  readonly destinationId: Uint8Array;
  readonly sourceId: Uint8Array;
  /** Cookie: in INIT and PAIR what a RETRY gave, in RETRY the cookie; else empty. */
  readonly token: Uint8Array;
  /** Noise message; in VERSIONS the supported versions; in PAIR and PAIR_REPLY see pairing.ts; else empty. */
  readonly payload: Uint8Array;
}

/** The fields that every version of the protocol keeps in place. WIRE §5.1. */
export interface InvariantHeader {
  readonly version: number;
  readonly destinationId: Uint8Array;
  readonly sourceId: Uint8Array;
}

/** The version-independent fields of a long header, or `undefined` if the datagram is too short. */
export function readInvariantHeader(
  bytes: Uint8Array,
  offset: number,
  length: number,
): InvariantHeader | undefined {
  if (length < LONG_HEADER_BYTES || !isLongHeader(bytes, offset)) return undefined;
  const at = offset + 5;
  return {
    version: readUint32(bytes, offset + 1),
    destinationId: bytes.slice(at, at + CONNECTION_ID_BYTES),
    sourceId: bytes.slice(at + CONNECTION_ID_BYTES, at + 2 * CONNECTION_ID_BYTES),
  };
}

function hasToken(type: number): boolean {
  return type === LONG_TYPE.init || type === LONG_TYPE.pair || type === LONG_TYPE.retry;
}

/**
 * Writes a long-header packet, zero-padded to `minimumBytes`.
 *
 * WIRE §5: first byte, version, destination id, source id, token (INIT, PAIR and RETRY), payload (all
 * but RETRY), padding.
 */
export function encodeLongPacket(packet: LongPacket, minimumBytes = 0): Uint8Array {
  const writer = new ByteWriter(Math.max(minimumBytes, 512));
  writer.uint8(LONG_BIT | FIXED_BIT | (packet.psk ? PSK_BIT : 0) | packet.type);
  writer.uint32(packet.version).raw(packet.destinationId).raw(packet.sourceId);
  if (hasToken(packet.type)) writer.lengthPrefixed(packet.token);
  if (packet.type !== LONG_TYPE.retry) writer.lengthPrefixed(packet.payload);
  if (writer.size < minimumBytes) writer.raw(new Uint8Array(minimumBytes - writer.size));
  return writer.finish();
}

const EMPTY = new Uint8Array(0);

/**
 * Parses a long-header packet; its byte fields are copies.
 *
 * @throws DecodeError if a reserved bit or a padding byte is set, a length does not fit, the type is
 * unknown, or a field is over its limit.
 */
export function decodeLongPacket(bytes: Uint8Array, offset: number, length: number): LongPacket {
  const reader = new ByteReader(bytes, offset, offset + length);
  const first = reader.uint8();
  if ((first & (LONG_BIT | FIXED_BIT)) !== (LONG_BIT | FIXED_BIT) || (first & LONG_RESERVED_MASK) !== 0)
    throw new DecodeError("not a long header of this version", offset);
  const type = first & TYPE_MASK;
  if (type > LONG_TYPE.pairReply) throw new DecodeError(`unknown long packet type ${type}`, offset);
  const version = reader.uint32();
  if ((version === NO_VERSION) !== (type === LONG_TYPE.versions))
    throw new DecodeError("version 0 belongs to VERSIONS packets and to no other", offset + 1);
  const destinationId = reader.copy(CONNECTION_ID_BYTES);
  const sourceId = reader.copy(CONNECTION_ID_BYTES);
  const token = hasToken(type) ? reader.lengthPrefixed(TOKEN_BYTES) : EMPTY;
  const payload = type === LONG_TYPE.retry ? EMPTY : reader.lengthPrefixed(HANDSHAKE_PAYLOAD_BYTES);
  // WIRE §5.4: every byte is either authenticated or has one legal value.
  for (let at = reader.at; at < reader.end; at++)
    if (bytes[at] !== 0) throw new DecodeError("padding is not zero", at);
  return { type, psk: (first & PSK_BIT) !== 0, version, destinationId, sourceId, token, payload };
}

/** A VERSIONS packet in answer to a long header of an unknown version. WIRE §6. */
export function encodeVersions(asked: InvariantHeader, supported: readonly number[]): Uint8Array {
  const payload = new Uint8Array(supported.length * 4);
  supported.forEach((version, index) => writeUint32(payload, index * 4, version));
  return encodeLongPacket({
    type: LONG_TYPE.versions,
    psk: false,
    version: NO_VERSION,
    destinationId: asked.sourceId,
    sourceId: asked.destinationId,
    token: EMPTY,
    payload,
  });
}

/** The list in the payload of a VERSIONS packet. @throws DecodeError if it is empty or not whole. */
export function decodeVersions(payload: Uint8Array): number[] {
  if (payload.length === 0 || payload.length % 4 !== 0) throw new DecodeError("not a list of versions", 0);
  return Array.from({ length: payload.length / 4 }, (_, index) => readUint32(payload, index * 4));
}

/** Name of a version for people: `1`, or hexadecimal for one that does not begin with "gdw". */
export function versionName(version: number): string {
  if (version >>> 8 === VERSION_1 >>> 8) return String(version & 0xff);
  return `0x${version.toString(16).padStart(8, "0")}`;
}
