/**
 * All ordered streams of one connection: opening, limits, frames to the right half, and which ones
 * have something to send, to read, or room again. All streams carry both directions.
 * Source: RFC 9000 §2, §3, §4.6; ids after docs/spec/wire.md.
 */
import { GodwitError } from "../base/errors.ts";
import { STREAM_SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_PER_PEER } from "../base/limits.ts";
import { ReceiveStream } from "./receive-stream.ts";
import { SendStream } from "./send-stream.ts";
import type { StreamPiece } from "./send-stream.ts";

/** Which side began the connection. */
export type Role = "initiator" | "responder";

/** Sizes on our side. */
export interface StreamLimits {
  /** Receive window of each stream, in bytes. */
  readonly windowBytes: number;
  /** Streams the peer may have open at once. */
  readonly peerStreams: number;
}

/** The sizes in use outside of tests. */
export const STREAM_LIMITS: StreamLimits = {
  windowBytes: STREAM_WINDOW_BYTES,
  peerStreams: STREAMS_PER_PEER,
};

/** Both halves of one stream. */
class Stream {
  readonly id: number;
  readonly send: SendStream;
  readonly receive: ReceiveStream;
  isQueued = false;
  wantsRoom = false;
  isEndRead = false;

  constructor(id: number, sendLimit: number, windowBytes: number) {
    this.id = id;
    this.send = new SendStream(id, sendLimit);
    this.receive = new ReceiveStream(id, windowBytes);
  }
}

/** The streams of one connection. */
export class Streams {
  private readonly localBit: number;
  private readonly limits: StreamLimits;
  private readonly streams = new Map<number, Stream>();
  /** Streams with something to send, in turn. */
  private sendQueue: Stream[] = [];
  private readable = new Set<number>();
  private writable = new Set<number>();
  private openedLocal = 0;
  private openedByPeer = 0;
  private finishedByPeer = 0;
  private peerMaxStreams = 0;
  private peerInitialWindow = 0;
  private announcedMaxStreams: number;
  /** Streams whose MAX_STREAM_DATA, RESET_STREAM or STOP_SENDING shall be sent. */
  readonly windowUpdates = new Set<number>();
  readonly resets = new Set<number>();
  readonly stops = new Set<number>();
  /** Whether MAX_STREAMS shall be sent. */
  needsMaxStreams = false;

  constructor(role: Role, limits: StreamLimits = STREAM_LIMITS) {
    this.localBit = role === "initiator" ? 0 : 1;
    this.limits = limits;
    this.announcedMaxStreams = limits.peerStreams;
  }

  /** The peer's transport parameters are known. */
  handlePeerLimits(maxStreams: number, windowBytes: number): void {
    this.peerMaxStreams = Math.max(this.peerMaxStreams, maxStreams);
    this.peerInitialWindow = windowBytes;
    for (const stream of this.streams.values()) {
      stream.send.raiseLimit(windowBytes);
      this.queue(stream);
    }
  }

  /** Opens a stream and returns its id. @throws GodwitError OVER_LIMIT with too many open. */
  open(): number {
    if (this.openedLocal >= Math.max(this.peerMaxStreams, STREAMS_PER_PEER))
      throw new GodwitError("OVER_LIMIT", "too many streams are open to this peer; finish some first");
    const id = this.openedLocal++ * 2 + this.localBit;
    this.streams.set(id, new Stream(id, this.peerInitialWindow, this.limits.windowBytes));
    return id;
  }

  /** Queues bytes and returns how many were taken; `takeWritable` tells when more fit. */
  write(id: number, bytes: Uint8Array, isFinal: boolean): number {
    const stream = this.streams.get(id);
    if (stream === undefined) return bytes.length;
    const taken = stream.send.write(bytes, isFinal);
    stream.wantsRoom = taken < bytes.length;
    this.queue(stream);
    return taken;
  }

  /** Bytes a write could take now. */
  writableBytes(id: number): number {
    return this.streams.get(id)?.send.roomBytes ?? 0;
  }

  /** Gives up sending on a stream. */
  reset(id: number, code: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined || stream.send.isDone) return;
    stream.send.reset(code);
    this.resets.add(id);
  }

  /** Asks the peer to stop sending on a stream. */
  stop(id: number): void {
    if (this.streams.get(id)?.receive.isFinished === false) this.stops.add(id);
  }

  /** All bytes that are next in order, or `undefined`. */
  read(id: number): Uint8Array | undefined {
    const stream = this.streams.get(id);
    if (stream === undefined) return undefined;
    const bytes = stream.receive.read();
    if (stream.receive.raiseLimit()) this.windowUpdates.add(id);
    if (stream.receive.isFinished) {
      stream.isEndRead = true;
      this.forgetIfDone(stream);
    }
    return bytes;
  }

  /** Whether all bytes were read and none will follow; also for streams already forgotten. */
  isFinished(id: number): boolean {
    return this.streams.get(id)?.receive.isFinished ?? this.wasOpened(id);
  }

  /** Wire code the peer reset a stream with, or `undefined`. */
  resetCode(id: number): number | undefined {
    return this.streams.get(id)?.receive.resetWith;
  }

  /** Whether everything written, the end included, was acknowledged. */
  isDelivered(id: number): boolean {
    return this.streams.get(id)?.send.isDone ?? this.wasOpened(id);
  }

  /** Bytes from the start of a stream that the peer acknowledged; 0 for a stream that is over. */
  acknowledgedBytes(id: number): number {
    return this.streams.get(id)?.send.acknowledgedBytes ?? 0;
  }

  /** Streams that became readable since the last call. */
  takeReadable(): number[] {
    if (this.readable.size === 0) return [];
    const ids = [...this.readable];
    this.readable.clear();
    return ids;
  }

  /** Streams that have room again after a write was cut short, since the last call. */
  takeWritable(): number[] {
    if (this.writable.size === 0) return [];
    const ids = [...this.writable];
    this.writable.clear();
    return ids;
  }

  /** Limit to send in MAX_STREAMS. */
  get maxStreams(): number {
    return this.announcedMaxStreams;
  }

  /** Limit to send in MAX_STREAM_DATA, or `undefined` when the stream needs none any more. */
  windowLimit(id: number): number | undefined {
    return this.streams.get(id)?.receive.limit;
  }

  /** Code and final size to send in RESET_STREAM, or `undefined`. */
  resetFacts(id: number): { readonly code: number; readonly finalSize: number } | undefined {
    const send = this.streams.get(id)?.send;
    return send?.resetWith === undefined ? undefined : { code: send.resetWith, finalSize: send.sentBytes };
  }

  // Frames from the peer.

  /** Takes a STREAM frame. @throws GodwitError when the peer breaks a limit. */
  handlePiece(
    id: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    isFinal: boolean,
  ): void {
    const stream = this.find(id);
    if (stream?.receive.handlePiece(offset, bytes, from, lengthBytes, isFinal) === true)
      this.readable.add(id);
  }

  /** Takes RESET_STREAM. @throws GodwitError when the peer breaks a limit. */
  handleReset(id: number, code: number, finalSize: number): void {
    const stream = this.find(id);
    if (stream === undefined) return;
    stream.receive.handleReset(code, finalSize);
    this.readable.add(id);
  }

  /** Takes STOP_SENDING: RFC 9000 §3.5 answers with RESET_STREAM. */
  handleStop(id: number, code: number): void {
    if (this.find(id) !== undefined) this.reset(id, code);
  }

  /** Takes MAX_STREAM_DATA. */
  handleMaxStreamData(id: number, limit: number): void {
    const stream = this.find(id);
    if (stream === undefined) return;
    stream.send.raiseLimit(limit);
    this.queue(stream);
  }

  /** Takes MAX_STREAMS. */
  handleMaxStreams(limit: number): void {
    if (limit <= this.peerMaxStreams) return;
    this.peerMaxStreams = limit;
    for (const stream of this.streams.values()) this.queue(stream);
  }

  // Fate of what we sent.

  handleAcked(id: number, offset: number, lengthBytes: number, isFinal: boolean): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.send.handleAcked(offset, lengthBytes, isFinal);
    if (stream.wantsRoom && stream.send.roomBytes >= STREAM_SEND_BUFFER_BYTES / 4) {
      stream.wantsRoom = false;
      this.writable.add(id);
    }
    this.forgetIfDone(stream);
  }

  handleLost(id: number, offset: number, lengthBytes: number, isFinal: boolean): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.send.handleLost(offset, lengthBytes, isFinal);
    this.queue(stream);
  }

  handleResetAcked(id: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    stream.send.handleResetAcked();
    this.forgetIfDone(stream);
  }

  handleResetLost(id: number): void {
    if (this.resetFacts(id) !== undefined) this.resets.add(id);
  }

  handleWindowUpdateLost(id: number): void {
    if (this.streams.get(id)?.receive.isFinished === false) this.windowUpdates.add(id);
  }

  // Sending.

  /** Whether a stream has bytes that may be sent now. */
  get hasSendable(): boolean {
    return this.sendQueue.length > 0;
  }

  /** Describes in `piece` what to send next and returns its stream, or `undefined`. */
  peek(piece: StreamPiece): SendStream | undefined {
    while (this.sendQueue.length > 0) {
      const stream = this.sendQueue[0];
      if (this.isAllowed(stream.id) && stream.send.peek(piece)) return stream.send;
      stream.isQueued = false;
      this.sendQueue.shift();
    }
    return undefined;
  }

  /** Lets the next stream have its turn. */
  rotate(): void {
    const stream = this.sendQueue.shift();
    if (stream !== undefined) this.sendQueue.push(stream);
  }

  private queue(stream: Stream): void {
    if (stream.isQueued || !this.isAllowed(stream.id)) return;
    if (!stream.send.peek(SCRATCH)) return;
    stream.isQueued = true;
    this.sendQueue.push(stream);
  }

  private isAllowed(id: number): boolean {
    return (id & 1) !== this.localBit || (id - this.localBit) / 2 < this.peerMaxStreams;
  }

  private wasOpened(id: number): boolean {
    const isLocal = (id & 1) === this.localBit;
    return Math.floor(id / 2) < (isLocal ? this.openedLocal : this.openedByPeer);
  }

  /** The stream a frame is for; opens streams of the peer; `undefined` for one that is over. */
  private find(id: number): Stream | undefined {
    const stream = this.streams.get(id);
    if (stream !== undefined || this.wasOpened(id)) return stream;
    // RFC 9000 §19.8: a frame for a stream that we would have to open ourselves.
    if (id % 2 === this.localBit)
      throw new GodwitError("PROTOCOL_VIOLATION", `frame for stream ${id}, which was not opened`);
    const index = (id - (id % 2)) / 2;
    if (index >= this.announcedMaxStreams)
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        `stream ${id} is over the limit of ${this.announcedMaxStreams}`,
      );
    // RFC 9000 §3.2: opening a stream opens all lower ones of its kind.
    while (this.openedByPeer <= index) {
      const opened = this.openedByPeer++ * 2 + (1 - this.localBit);
      this.streams.set(opened, new Stream(opened, this.peerInitialWindow, this.limits.windowBytes));
    }
    return this.streams.get(id);
  }

  private forgetIfDone(stream: Stream): void {
    if (!stream.isEndRead || !stream.send.isDone || !this.streams.delete(stream.id)) return;
    this.windowUpdates.delete(stream.id);
    if ((stream.id & 1) === this.localBit) return;
    this.finishedByPeer++;
    this.announcedMaxStreams = this.finishedByPeer + this.limits.peerStreams;
    this.needsMaxStreams = true;
  }
}

const SCRATCH: StreamPiece = { offset: 0, lengthBytes: 0, isFinal: false, isRetransmission: false };
