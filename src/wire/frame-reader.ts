/**
 * Reading frames in place: one reader, reset for each packet, whose properties hold the frame it
 * stands on. Nothing is allocated for a well-formed frame. Source: docs/spec/wire.md §8.
 */
import { ByteReader, VARINT_MAX } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import { ACK_RANGES_PER_FRAME, PEER_TEXT_BYTES } from "../base/limits.ts";
import { CONNECTION_ID_BYTES } from "./connection-id.ts";
import { FRAME, PATH_CHALLENGE_BYTES } from "./frames.ts";

/** What `FrameReader.next` returns behind the last frame. */
export const NO_FRAME = -1;

/**
 * Walks the frames of one packet. After `next` returned a type, the properties that the type's
 * comment names are valid until the following call.
 */
export class FrameReader {
  /** The packet's bytes, as given to `reset`; `dataStart` and the like are offsets into it. */
  bytes: Uint8Array;
  /** STREAM, RESET_STREAM, STOP_SENDING, MAX_STREAM_DATA, STREAM_DATA_BLOCKED. */
  streamId = 0;
  /** DATA: the object. */
  object = 0;
  /** STREAM, DATA: offset of the first byte in the stream or object. */
  offset = 0;
  /** STREAM, DATA: where the data begins in `bytes`. PATH_*, NEW_CONNECTION_ID: their 8 bytes. CLOSE: the reason. */
  dataStart = 0;
  /** STREAM, DATA, CLOSE: bytes of data; PATH_*, NEW_CONNECTION_ID: 8. */
  dataLength = 0;
  /** STREAM: whether the data ends the stream. */
  fin = false;
  /** RESET_STREAM, STOP_SENDING, CLOSE: wire code of the error. */
  errorCode = 0;
  /** RESET_STREAM: bytes sent on the stream. */
  finalSize = 0;
  /** MAX_OBJECT_DATA, MAX_STREAM_DATA, MAX_STREAMS and the three BLOCKED frames: the limit. */
  limit = 0;
  /** NEW_CONNECTION_ID, RETIRE_CONNECTION_ID, ACK_FREQUENCY. */
  sequence = 0;
  /** NEW_CONNECTION_ID. */
  retirePriorTo = 0;
  /** ACK: largest packet number acknowledged. */
  largestAcknowledged = 0;
  /** ACK: delay as encoded; shift left by the peer's exponent for microseconds. */
  ackDelay = 0;
  /** ACK: number of ranges, newest first, in `rangeStarts` and `rangeEnds`. */
  rangeCount = 0;
  /** ACK: smallest packet number of each range. */
  readonly rangeStarts = new Float64Array(ACK_RANGES_PER_FRAME);
  /** ACK: largest packet number of each range, plus one. */
  readonly rangeEnds = new Float64Array(ACK_RANGES_PER_FRAME);
  /** ACK_ECN. */
  ect0 = 0;
  /** ACK_ECN. */
  ect1 = 0;
  /** ACK_ECN. */
  ce = 0;
  /** ACK_FREQUENCY. */
  packetThreshold = 0;
  /** ACK_FREQUENCY, in microseconds. */
  maxAckDelayUs = 0;
  /** ACK_FREQUENCY; 0 for none. */
  reorderingThreshold = 0;

  private readonly reader: ByteReader;

  constructor() {
    this.bytes = new Uint8Array(0);
    this.reader = new ByteReader(this.bytes);
  }

  /** Points the reader at the frames in `bytes[from, to)`. */
  reset(bytes: Uint8Array, from: number, to: number): void {
    this.bytes = bytes;
    this.reader.reset(bytes, from, to);
  }

  /**
   * Reads the next frame and returns its type, with 0x08 for every STREAM form and DATA for both of
   * its forms; NO_FRAME at the end of the packet. A run of PADDING counts as one frame.
   *
   * @throws DecodeError if the frame is malformed or of an unknown type.
   */
  next(): number {
    const { reader } = this;
    if (reader.at >= reader.end) return NO_FRAME;
    const start = reader.at;
    const type = reader.bytes[start];
    reader.at = start + 1;
    if ((type & 0xf8) === FRAME.stream) return this.readStream(type);
    switch (type) {
      case FRAME.data:
      case FRAME.dataToEnd:
        return this.readData(type);
      case FRAME.ack:
      case FRAME.ackEcn:
        return this.readAck(type);
      case FRAME.padding:
        while (reader.at < reader.end && reader.bytes[reader.at] === 0) reader.at++;
        return type;
      case FRAME.ping:
      case FRAME.handshakeDone:
      case FRAME.immediateAck:
        return type;
      case FRAME.maxObjectData:
      case FRAME.maxStreams:
      case FRAME.objectDataBlocked:
      case FRAME.streamsBlocked:
        this.limit = reader.varint();
        return type;
      case FRAME.maxStreamData:
      case FRAME.streamDataBlocked:
        this.streamId = reader.varint();
        this.limit = reader.varint();
        return type;
      default:
        return this.readRare(type, start);
    }
  }

  private readStream(type: number): number {
    const { reader } = this;
    this.streamId = reader.varint();
    this.offset = (type & 0x04) === 0 ? 0 : reader.varint();
    const length = (type & 0x02) === 0 ? reader.end - reader.at : reader.varint();
    this.fin = (type & 0x01) !== 0;
    this.takeData(length);
    return FRAME.stream;
  }

  private readData(type: number): number {
    const { reader } = this;
    this.object = reader.varint();
    this.offset = reader.varint();
    const length = type === FRAME.dataToEnd ? reader.end - reader.at : reader.varint();
    // WIRE §8.7: an empty DATA frame says nothing and would cost nothing to send without end.
    if (length === 0) throw new DecodeError("DATA frame without data", reader.at);
    this.takeData(length);
    return FRAME.data;
  }

  /** Takes `length` bytes of data whose place in the stream or object must be a legal number. */
  private takeData(length: number): void {
    const { reader } = this;
    const at = reader.at;
    if (length > reader.end - at) throw new DecodeError("frame is longer than its packet", at);
    // RFC 9000 §19.8: the largest offset cannot exceed what a varint carries.
    if (this.offset > VARINT_MAX - length) throw new DecodeError("data beyond the largest offset", at);
    this.dataStart = at;
    this.dataLength = length;
    reader.at = at + length;
  }

  private readAck(type: number): number {
    const { reader, rangeStarts, rangeEnds } = this;
    const largest = reader.varint();
    this.largestAcknowledged = largest;
    this.ackDelay = reader.varint();
    const more = reader.varint();
    if (more >= ACK_RANGES_PER_FRAME) throw new DecodeError("too many ranges in an ACK", reader.at);
    // RFC 9000 §19.3.1: a range or gap that would reach below packet 0 is an error.
    let smallest = largest - reader.varint();
    if (smallest < 0) throw new DecodeError("ACK range below packet 0", reader.at);
    rangeStarts[0] = smallest;
    rangeEnds[0] = largest + 1;
    for (let i = 1; i <= more; i++) {
      const top = smallest - reader.varint() - 2;
      if (top < 0) throw new DecodeError("ACK gap below packet 0", reader.at);
      smallest = top - reader.varint();
      if (smallest < 0) throw new DecodeError("ACK range below packet 0", reader.at);
      rangeStarts[i] = smallest;
      rangeEnds[i] = top + 1;
    }
    this.rangeCount = more + 1;
    if (type === FRAME.ackEcn) {
      this.ect0 = reader.varint();
      this.ect1 = reader.varint();
      this.ce = reader.varint();
    }
    return type;
  }

  /** Takes a field of `length` bytes. */
  private takeField(length: number): void {
    const { reader } = this;
    if (length > reader.end - reader.at) throw new DecodeError("frame is longer than its packet", reader.at);
    this.dataStart = reader.at;
    this.dataLength = length;
    reader.at += length;
  }

  private readRare(type: number, start: number): number {
    const { reader } = this;
    switch (type) {
      case FRAME.resetStream:
        this.streamId = reader.varint();
        this.errorCode = reader.varint();
        this.finalSize = reader.varint();
        return type;
      case FRAME.stopSending:
        this.streamId = reader.varint();
        this.errorCode = reader.varint();
        return type;
      case FRAME.newConnectionId:
        this.sequence = reader.varint();
        this.retirePriorTo = reader.varint();
        // RFC 9000 §19.15: an id cannot ask for its own retirement.
        if (this.retirePriorTo > this.sequence)
          throw new DecodeError("a new connection id that retires itself", start);
        this.takeField(CONNECTION_ID_BYTES);
        return type;
      case FRAME.retireConnectionId:
        this.sequence = reader.varint();
        return type;
      case FRAME.pathChallenge:
      case FRAME.pathResponse:
        this.takeField(PATH_CHALLENGE_BYTES);
        return type;
      case FRAME.close: {
        this.errorCode = reader.varint();
        const length = reader.varint();
        if (length > PEER_TEXT_BYTES) throw new DecodeError("reason of a CLOSE is too long", start);
        this.takeField(length);
        return type;
      }
      case FRAME.ackFrequency:
        this.sequence = reader.varint();
        this.packetThreshold = reader.varint();
        this.maxAckDelayUs = reader.varint();
        this.reorderingThreshold = reader.varint();
        return type;
      default:
        throw new DecodeError(`unknown frame type 0x${type.toString(16)}`, start);
    }
  }
}
