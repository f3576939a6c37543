/**
 * Frames: their types, their sizes, and writing them in place. Reading is in frame-reader.ts.
 *
 * Every `writeX(bytes, at, ...)` writes one frame and returns the offset behind it; `xBytes(...)`
 * tells what it will take. The caller makes sure that there is room.
 * Source: docs/spec/wire.md §8, layouts after RFC 9000 §19 where a frame has a namesake there.
 */
import { varintSize, writeVarint } from "../base/bytes.ts";
import { ACK_RANGES_PER_FRAME, PEER_TEXT_BYTES } from "../base/limits.ts";
import type { RangeSet } from "../base/range-set.ts";
import { assert } from "../base/assert.ts";
import { CONNECTION_ID_BYTES } from "./connection-id.ts";

/** Frame types. All are below 0x40, so that a type is one byte. WIRE §8. */
export const FRAME = {
  padding: 0x00,
  ping: 0x01,
  ack: 0x02,
  ackEcn: 0x03,
  resetStream: 0x04,
  stopSending: 0x05,
  /** 0x08 to 0x0f: bit 2 = offset present, bit 1 = length present, bit 0 = last of the stream. */
  stream: 0x08,
  maxObjectData: 0x10,
  maxStreamData: 0x11,
  maxStreams: 0x12,
  objectDataBlocked: 0x14,
  streamDataBlocked: 0x15,
  streamsBlocked: 0x16,
  newConnectionId: 0x18,
  retireConnectionId: 0x19,
  pathChallenge: 0x1a,
  pathResponse: 0x1b,
  close: 0x1c,
  handshakeDone: 0x1e,
  immediateAck: 0x1f,
  /** File data with a length. */
  data: 0x20,
  /** File data up to the end of the packet. */
  dataToEnd: 0x21,
  ackFrequency: 0x30,
} as const;

/** Bytes of a PATH_CHALLENGE's data. RFC 9000 §19.17. */
export const PATH_CHALLENGE_BYTES = 8;

/** Whether a packet with this frame must be acknowledged. RFC 9002 §2. */
export function isAckEliciting(type: number): boolean {
  return type !== FRAME.padding && type !== FRAME.ack && type !== FRAME.ackEcn && type !== FRAME.close;
}

/** Whether a frame may travel on a path that is not validated without moving the connection. RFC 9000 §9.1. */
export function isProbing(type: number): boolean {
  return (
    type === FRAME.padding ||
    type === FRAME.pathChallenge ||
    type === FRAME.pathResponse ||
    type === FRAME.newConnectionId
  );
}

/** Fills `[at, end)` with PADDING and returns `end`. */
export function writePadding(bytes: Uint8Array, at: number, end: number): number {
  bytes.fill(0, at, end);
  return end;
}

/** Writes a frame that is only its type: PING, HANDSHAKE_DONE, IMMEDIATE_ACK. */
export function writeBare(bytes: Uint8Array, at: number, type: number): number {
  bytes[at] = type;
  return at + 1;
}

/** Counts of ECN-marked packets received. RFC 9000 §19.3.2. */
export interface EcnCounts {
  readonly ect0: number;
  readonly ect1: number;
  readonly ce: number;
}

/**
 * Bytes of an ACK frame with the newest `rangeCount` ranges of `received`, without ECN counts.
 *
 * @param delay - Acknowledgement delay as it is encoded: microseconds >> the sender's exponent.
 */
export function ackBytes(received: RangeSet, delay: number, rangeCount: number): number {
  const top = received.rangeCount - 1;
  const largest = received.end - 1;
  let size = 1 + varintSize(largest) + varintSize(delay) + varintSize(rangeCount - 1);
  size += varintSize(largest - received.startAt(top));
  for (let i = 1; i < rangeCount; i++) {
    size += varintSize(received.startAt(top - i + 1) - received.endAt(top - i) - 1);
    size += varintSize(received.endAt(top - i) - received.startAt(top - i) - 1);
  }
  return size;
}

/** Bytes of the counts that turn an ACK into an ACK_ECN. */
export function ecnBytes(ecn: EcnCounts): number {
  return varintSize(ecn.ect0) + varintSize(ecn.ect1) + varintSize(ecn.ce);
}

/**
 * Writes an ACK (or ACK_ECN) frame with as many of the newest ranges of `received` as fit in
 * `[at, end)`, at most ACK_RANGES_PER_FRAME, and returns the offset behind it; `at` itself if not
 * even one range fits.
 *
 * @param received - Packet numbers received; not empty.
 * @param delay - Acknowledgement delay as it is encoded: microseconds >> the own exponent.
 * @param ecn - Counts to report, or `undefined` when ECN marks cannot be seen.
 */
export function writeAck(
  bytes: Uint8Array,
  at: number,
  end: number,
  received: RangeSet,
  delay: number,
  ecn: EcnCounts | undefined,
): number {
  assert(received.rangeCount > 0, "an ACK needs a packet to acknowledge");
  const top = received.rangeCount - 1;
  const largest = received.end - 1;
  const first = largest - received.startAt(top);
  const room = end - at - (ecn === undefined ? 0 : ecnBytes(ecn));
  // The count takes one byte: at most 63 ranges follow the first.
  let size = 1 + varintSize(largest) + varintSize(delay) + 1 + varintSize(first);
  if (size > room) return at;
  const limit = Math.min(received.rangeCount, ACK_RANGES_PER_FRAME);
  let count = 1;
  while (count < limit) {
    const index = top - count;
    const gap = received.startAt(index + 1) - received.endAt(index) - 1;
    const length = received.endAt(index) - received.startAt(index) - 1;
    size += varintSize(gap) + varintSize(length);
    if (size > room) break;
    count++;
  }

  bytes[at++] = ecn === undefined ? FRAME.ack : FRAME.ackEcn;
  at = writeVarint(bytes, at, largest);
  at = writeVarint(bytes, at, delay);
  at = writeVarint(bytes, at, count - 1);
  at = writeVarint(bytes, at, first);
  for (let index = top - 1; index > top - count; index--) {
    // RFC 9000 §19.3.1: the gap is one less than the packets missing, the length one less than those there.
    at = writeVarint(bytes, at, received.startAt(index + 1) - received.endAt(index) - 1);
    at = writeVarint(bytes, at, received.endAt(index) - received.startAt(index) - 1);
  }
  if (ecn !== undefined) {
    at = writeVarint(bytes, at, ecn.ect0);
    at = writeVarint(bytes, at, ecn.ect1);
    at = writeVarint(bytes, at, ecn.ce);
  }
  return at;
}

/** Writes RESET_STREAM. `finalSize` is the number of bytes sent on the stream. RFC 9000 §19.4. */
export function writeResetStream(
  bytes: Uint8Array,
  at: number,
  streamId: number,
  errorCode: number,
  finalSize: number,
): number {
  bytes[at] = FRAME.resetStream;
  at = writeVarint(bytes, at + 1, streamId);
  at = writeVarint(bytes, at, errorCode);
  return writeVarint(bytes, at, finalSize);
}

/** Bytes of RESET_STREAM. */
export function resetStreamBytes(streamId: number, errorCode: number, finalSize: number): number {
  return 1 + varintSize(streamId) + varintSize(errorCode) + varintSize(finalSize);
}

/** Writes STOP_SENDING. RFC 9000 §19.5. */
export function writeStopSending(bytes: Uint8Array, at: number, streamId: number, errorCode: number): number {
  bytes[at] = FRAME.stopSending;
  return writeVarint(bytes, writeVarint(bytes, at + 1, streamId), errorCode);
}

/** Bytes of STOP_SENDING. */
export function stopSendingBytes(streamId: number, errorCode: number): number {
  return 1 + varintSize(streamId) + varintSize(errorCode);
}

/** Bytes of a STREAM frame before its data. */
export function streamHeaderBytes(streamId: number, offset: number, length: number): number {
  return 1 + varintSize(streamId) + (offset === 0 ? 0 : varintSize(offset)) + varintSize(length);
}

/**
 * Writes a STREAM frame up to its data and returns the offset at which the caller puts `length`
 * bytes. The length is always present; the offset when it is not zero. RFC 9000 §19.8.
 */
export function writeStreamHeader(
  bytes: Uint8Array,
  at: number,
  streamId: number,
  offset: number,
  length: number,
  fin: boolean,
): number {
  bytes[at] = FRAME.stream | 0x02 | (offset === 0 ? 0 : 0x04) | (fin ? 0x01 : 0);
  at = writeVarint(bytes, at + 1, streamId);
  if (offset !== 0) at = writeVarint(bytes, at, offset);
  return writeVarint(bytes, at, length);
}

/** Bytes of a DATA frame before its data. */
export function dataHeaderBytes(object: number, offset: number, length: number): number {
  return 1 + varintSize(object) + varintSize(offset) + varintSize(length);
}

/** Writes a DATA frame up to its data and returns where the caller puts `length` bytes. WIRE §8.7. */
export function writeDataHeader(
  bytes: Uint8Array,
  at: number,
  object: number,
  offset: number,
  length: number,
): number {
  bytes[at] = FRAME.data;
  at = writeVarint(bytes, at + 1, object);
  at = writeVarint(bytes, at, offset);
  return writeVarint(bytes, at, length);
}

/** Bytes of a DATA frame that ends with its packet, before its data. */
export function dataToEndHeaderBytes(object: number, offset: number): number {
  return 1 + varintSize(object) + varintSize(offset);
}

/** Writes a DATA frame that reaches to the end of its packet, and returns where its data begins. */
export function writeDataToEndHeader(bytes: Uint8Array, at: number, object: number, offset: number): number {
  bytes[at] = FRAME.dataToEnd;
  return writeVarint(bytes, writeVarint(bytes, at + 1, object), offset);
}

/**
 * Writes a frame of one number: MAX_OBJECT_DATA, MAX_STREAMS, OBJECT_DATA_BLOCKED, STREAMS_BLOCKED,
 * RETIRE_CONNECTION_ID.
 */
export function writeNumber(bytes: Uint8Array, at: number, type: number, value: number): number {
  bytes[at] = type;
  return writeVarint(bytes, at + 1, value);
}

/** Bytes of a frame of one number. */
export function numberBytes(value: number): number {
  return 1 + varintSize(value);
}

/** Writes MAX_STREAM_DATA or STREAM_DATA_BLOCKED. RFC 9000 §19.10 and §19.13. */
export function writeStreamNumber(
  bytes: Uint8Array,
  at: number,
  type: number,
  streamId: number,
  value: number,
): number {
  bytes[at] = type;
  return writeVarint(bytes, writeVarint(bytes, at + 1, streamId), value);
}

/** Bytes of MAX_STREAM_DATA or STREAM_DATA_BLOCKED. */
export function streamNumberBytes(streamId: number, value: number): number {
  return 1 + varintSize(streamId) + varintSize(value);
}

/** Writes NEW_CONNECTION_ID; it has no reset token, see docs/spec/departures.md. */
export function writeNewConnectionId(
  bytes: Uint8Array,
  at: number,
  sequence: number,
  retirePriorTo: number,
  connectionId: Uint8Array,
): number {
  bytes[at] = FRAME.newConnectionId;
  at = writeVarint(bytes, at + 1, sequence);
  at = writeVarint(bytes, at, retirePriorTo);
  for (let i = 0; i < CONNECTION_ID_BYTES; i++) bytes[at + i] = connectionId[i];
  return at + CONNECTION_ID_BYTES;
}

/** Bytes of NEW_CONNECTION_ID. */
export function newConnectionIdBytes(sequence: number, retirePriorTo: number): number {
  return 1 + varintSize(sequence) + varintSize(retirePriorTo) + CONNECTION_ID_BYTES;
}

/** Writes PATH_CHALLENGE or PATH_RESPONSE with 8 bytes of `data` from `dataAt`. RFC 9000 §19.17. */
export function writePathData(
  bytes: Uint8Array,
  at: number,
  type: number,
  data: Uint8Array,
  dataAt = 0,
): number {
  bytes[at] = type;
  for (let i = 0; i < PATH_CHALLENGE_BYTES; i++) bytes[at + 1 + i] = data[dataAt + i];
  return at + 1 + PATH_CHALLENGE_BYTES;
}

/** Bytes of PATH_CHALLENGE or PATH_RESPONSE. */
export const PATH_DATA_FRAME_BYTES = 1 + PATH_CHALLENGE_BYTES;

/** Writes CLOSE. `reason` is UTF-8, at most PEER_TEXT_BYTES. */
export function writeClose(bytes: Uint8Array, at: number, errorCode: number, reason: Uint8Array): number {
  assert(reason.length <= PEER_TEXT_BYTES, "the reason of a CLOSE is too long");
  bytes[at] = FRAME.close;
  at = writeVarint(bytes, at + 1, errorCode);
  at = writeVarint(bytes, at, reason.length);
  bytes.set(reason, at);
  return at + reason.length;
}

/** Bytes of CLOSE. */
export function closeBytes(errorCode: number, reasonBytes: number): number {
  return 1 + varintSize(errorCode) + varintSize(reasonBytes) + reasonBytes;
}

/**
 * Writes ACK_FREQUENCY. draft-ietf-quic-ack-frequency §4.
 *
 * @param sequence - Grows with each frame; an older one is ignored.
 * @param packetThreshold - Ack-eliciting packets that may arrive before an ACK must follow.
 * @param maxAckDelayUs - Longest wait before an ACK, in microseconds.
 * @param reorderingThreshold - Gap that forces an ACK at once; 0 for none.
 */
export function writeAckFrequency(
  bytes: Uint8Array,
  at: number,
  sequence: number,
  packetThreshold: number,
  maxAckDelayUs: number,
  reorderingThreshold: number,
): number {
  bytes[at] = FRAME.ackFrequency;
  at = writeVarint(bytes, at + 1, sequence);
  at = writeVarint(bytes, at, packetThreshold);
  at = writeVarint(bytes, at, maxAckDelayUs);
  return writeVarint(bytes, at, reorderingThreshold);
}

/** Bytes of ACK_FREQUENCY. */
export function ackFrequencyBytes(
  sequence: number,
  packetThreshold: number,
  maxAckDelayUs: number,
  reorderingThreshold: number,
): number {
  return (
    1 +
    varintSize(sequence) +
    varintSize(packetThreshold) +
    varintSize(maxAckDelayUs) +
    varintSize(reorderingThreshold)
  );
}
