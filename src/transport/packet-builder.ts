/**
 * Writes one packet after the other straight into a batch: header, then frames as far as there is
 * room, and notes what must reach the peer. Sealing happens later, for the whole batch at once.
 */
import { assert } from "../base/assert.ts";
import type { PacketBatch } from "../wire/batch.ts";
import {
  dataHeaderBytes,
  dataToEndHeaderBytes,
  PATH_DATA_FRAME_BYTES,
  streamHeaderBytes,
  writeAck,
  writeDataHeader,
  writeDataToEndHeader,
  writePadding,
  writePathData,
  writeStreamHeader,
} from "../wire/frames.ts";
import { MIN_SHORT_PACKET_BYTES, SHORT_HEADER_BYTES, writeShortHeader } from "../wire/header.ts";
import type { AckTracker } from "./ack-tracker.ts";
import { TAG_BYTES } from "./crypto.ts";
import type { SendCredit } from "./flow-control.ts";
import type { ObjectPiece, ObjectSource } from "./objects.ts";
import type { SentFrames } from "./sent-frames.ts";
import { SENT } from "./sent-frames.ts";
import type { StreamPiece } from "./send-stream.ts";
import type { Streams } from "./streams.ts";

/** A piece of data is not split for less room than this: its header would be most of it. */
const SMALLEST_SPLIT_BYTES = 32;

/** Builds the packets of one connection. */
export class PacketBuilder {
  private readonly sentFrames: SentFrames;
  private batch: PacketBatch | undefined;
  private packetNumber = 0;
  private start = 0;
  private end = 0;
  private isEliciting = false;
  private readonly objectPiece: ObjectPiece = {
    object: 0,
    offset: 0,
    availableBytes: 0,
    isRetransmission: false,
    lender: undefined,
    lentFrom: 0,
  };
  /** Where the packet's last bytes are borrowed from, if they are. */
  private lender: Uint8Array | undefined;
  private lentFrom = 0;
  private borrowedAt = 0;
  private readonly streamPiece: StreamPiece = {
    offset: 0,
    lengthBytes: 0,
    isFinal: false,
    isRetransmission: false,
  };
  /** The batch's bytes, and where the next frame begins in them. */
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  /** Payload bytes sent again since the beginning. */
  retransmittedBytes = 0;

  constructor(sentFrames: SentFrames) {
    this.sentFrames = sentFrames;
  }

  /** Begins a packet of at most `maxBytes`, which the batch has room for. */
  begin(
    batch: PacketBatch,
    maxBytes: number,
    connectionId: Uint8Array,
    keyPhase: number,
    packetNumber: number,
  ): void {
    this.batch = batch;
    this.bytes = batch.bytes;
    this.packetNumber = packetNumber;
    this.start = batch.usedBytes;
    this.at = this.start + SHORT_HEADER_BYTES;
    this.end = this.start + maxBytes - TAG_BYTES;
    this.isEliciting = false;
    this.lender = undefined;
    assert(this.end <= this.bytes.length && maxBytes >= MIN_SHORT_PACKET_BYTES, "the batch has no room");
    writeShortHeader(this.bytes, this.start, connectionId, keyPhase, packetNumber);
    this.sentFrames.begin(packetNumber);
  }

  /** Bytes left for frames. */
  get roomBytes(): number {
    return this.end - this.at;
  }

  /** Whether no frame was written yet. */
  get isEmpty(): boolean {
    return this.at === this.start + SHORT_HEADER_BYTES;
  }

  /** Whether the packet asks for an acknowledgement. */
  get isAckEliciting(): boolean {
    return this.isEliciting;
  }

  /** Notes a frame that must reach the peer. */
  record(kind: number, a: number, b: number, c: number): void {
    this.isEliciting = true;
    this.sentFrames.add(kind, a, b, c);
  }

  /** Writes an ACK of everything received; returns whether there was room. */
  writeAck(tracker: AckTracker, delayExponent: number, nowUs: number): boolean {
    if (tracker.largestReceived < 0) return false;
    const delay = Math.floor(tracker.delayUs(nowUs) / 2 ** delayExponent);
    const { ecn } = tracker;
    const hasMarks = ecn.ce + ecn.ect0 + ecn.ect1 > 0;
    const at = writeAck(this.bytes, this.at, this.end, tracker.ranges(), delay, hasMarks ? ecn : undefined);
    if (at === this.at) return false;
    this.at = at;
    return true;
  }

  /** Notes that the packet carries an ACK; only in packets that are acknowledged themselves. */
  recordAck(largestReported: number): void {
    this.sentFrames.add(SENT.ack, largestReported, 0, 0);
  }

  /** Writes PATH_CHALLENGE or PATH_RESPONSE. */
  writePathData(type: number, data: Uint8Array, dataAt: number): void {
    assert(this.roomBytes >= PATH_DATA_FRAME_BYTES, "a path frame needs room");
    this.at = writePathData(this.bytes, this.at, type, data, dataAt);
  }

  /** Writes STREAM frames as long as there is something to send and room. */
  writeStreams(streams: Streams): void {
    const piece = this.streamPiece;
    for (;;) {
      const stream = streams.peek(piece);
      if (stream === undefined) return;
      const room = this.end - this.at - streamHeaderBytes(stream.id, piece.offset, this.roomBytes);
      if (room < Math.min(piece.lengthBytes, SMALLEST_SPLIT_BYTES)) return;
      const length = Math.min(piece.lengthBytes, room);
      const isFinal = piece.isFinal && length === piece.lengthBytes;
      const at = writeStreamHeader(this.bytes, this.at, stream.id, piece.offset, length, isFinal);
      stream.take(piece, length, this.bytes, at);
      this.at = at + length;
      if (piece.isRetransmission) this.retransmittedBytes += length;
      this.record(isFinal ? SENT.streamFinal : SENT.stream, stream.id, piece.offset, length);
      streams.rotate();
    }
  }

  /** Writes DATA frames as long as the source has something, flow control allows it, and there is room. */
  writeData(source: ObjectSource, credit: SendCredit): void {
    const piece = this.objectPiece;
    while (this.roomBytes >= SMALLEST_SPLIT_BYTES) {
      const available = credit.availableBytes;
      if (!source.peekPiece(piece, available <= 0)) return;
      const { object, offset } = piece;
      const wanted = piece.isRetransmission
        ? piece.availableBytes
        : Math.min(piece.availableBytes, available);
      const roomToEnd = this.end - this.at - dataToEndHeaderBytes(object, offset);
      if (wanted >= roomToEnd) {
        if (roomToEnd < SMALLEST_SPLIT_BYTES) return;
        const at = writeDataToEndHeader(this.bytes, this.at, object, offset);
        this.takePiece(source, credit, roomToEnd, at, true);
        return;
      }
      const header = dataHeaderBytes(object, offset, wanted);
      // A few bytes more for the length do not fit: cut the piece, or end the packet with it.
      const length = Math.min(wanted, this.end - this.at - header);
      if (length < Math.min(wanted, SMALLEST_SPLIT_BYTES)) return;
      const at = writeDataHeader(this.bytes, this.at, object, offset, length);
      this.takePiece(source, credit, length, at, false);
    }
  }

  private takePiece(
    source: ObjectSource,
    credit: SendCredit,
    length: number,
    at: number,
    isLastFrame: boolean,
  ): void {
    const piece = this.objectPiece;
    // What was described is noted first: the source may change the description when it hands it out.
    const { object, offset, isRetransmission, lender } = piece;
    if (isLastFrame && lender !== undefined) {
      this.lender = lender;
      this.lentFrom = piece.lentFrom ?? 0;
      this.borrowedAt = at;
      source.takePiece(piece, length, undefined, at);
    } else source.takePiece(piece, length, this.bytes, at);
    this.at = at + length;
    if (isRetransmission) this.retransmittedBytes += length;
    else credit.use(length);
    this.record(isRetransmission ? SENT.dataAgain : SENT.data, object, offset, length);
  }

  /** Whether the source has something that may be sent. */
  hasData(source: ObjectSource, credit: SendCredit): boolean {
    return source.peekPiece(this.objectPiece, credit.availableBytes <= 0);
  }

  /**
   * Ends the packet, padded to `minimumBytes`, appends it to the batch with an ECN codepoint and returns
   * its size.
   */
  finish(minimumBytes: number, addresses: Int32Array, addressIndex: number, ecn: number): number {
    const { batch } = this;
    assert(batch !== undefined && !this.isEmpty, "a packet needs a frame");
    const least = Math.min(this.start + Math.max(minimumBytes, MIN_SHORT_PACKET_BYTES) - TAG_BYTES, this.end);
    if (this.at < least) this.at = writePadding(this.bytes, this.at, least);
    const size = this.at + TAG_BYTES - this.start;
    const index = batch.push(size, addresses, addressIndex);
    batch.packetNumbers[index] = this.packetNumber;
    batch.ecn[index] = ecn;
    if (this.lender !== undefined)
      batch.borrow(index, this.borrowedAt, this.at - this.borrowedAt, this.lender, this.lentFrom);
    return size;
  }
}
