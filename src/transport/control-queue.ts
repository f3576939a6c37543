/**
 * Control frames that wait to be sent: kept as facts ("announce this limit"), not as bytes, so that a
 * lost one is sent again with the value that is true then. RFC 9000 §13.3.
 */
import { GodwitError } from "../base/errors.ts";
import { FORCED_REPLIES_PENDING } from "../base/limits.ts";
import {
  ackFrequencyBytes,
  FRAME,
  newConnectionIdBytes,
  numberBytes,
  resetStreamBytes,
  stopSendingBytes,
  streamNumberBytes,
  writeAckFrequency,
  writeBare,
  writeNewConnectionId,
  writeNumber,
  writeResetStream,
  writeStopSending,
  writeStreamNumber,
} from "../wire/frames.ts";
import type { LocalConnectionIds } from "./connection-ids.ts";
import type { ReceiveWindow, SendCredit } from "./flow-control.ts";
import type { PacketBuilder } from "./packet-builder.ts";
import { SENT } from "./sent-frames.ts";
import type { Streams } from "./streams.ts";

/** What this side asks of the peer's acknowledgements. */
export interface AckRhythm {
  readonly packetThreshold: number;
  readonly maxAckDelayUs: number;
  readonly reorderingThreshold: number;
}

/** Where the present values come from. */
export interface ControlSources {
  readonly streams: Streams;
  readonly window: ReceiveWindow;
  readonly credit: SendCredit;
  readonly localIds: LocalConnectionIds;
}

/** Control frames of one connection that wait for a packet. */
export class ControlQueue {
  private readonly sources: ControlSources;
  private needsHandshakeDone = false;
  private needsPing = 0;
  private readonly newIds = new Set<number>();
  private readonly retiredIds = new Set<number>();
  private rhythm: AckRhythm | undefined;
  private rhythmSequence = 0;
  private needsBlocked = false;

  constructor(sources: ControlSources) {
    this.sources = sources;
  }

  /** Whether anything waits. */
  get isEmpty(): boolean {
    const { streams, window } = this.sources;
    return (
      !this.needsHandshakeDone &&
      this.needsPing === 0 &&
      !window.needsAnnouncement &&
      streams.windowUpdates.size === 0 &&
      streams.resets.size === 0 &&
      streams.stops.size === 0 &&
      !streams.needsMaxStreams &&
      this.newIds.size === 0 &&
      this.retiredIds.size === 0 &&
      this.rhythm === undefined &&
      !this.needsBlocked
    );
  }

  /** Announces that the handshake is confirmed. */
  addHandshakeDone(): void {
    this.needsHandshakeDone = true;
  }

  /** Asks for an acknowledgement. */
  addPing(): void {
    this.needsPing = Math.min(this.needsPing + 1, FORCED_REPLIES_PENDING);
  }

  /** Gives the peer ids. */
  addNewConnectionIds(sequences: readonly number[]): void {
    for (const sequence of sequences) this.newIds.add(sequence);
  }

  /**
   * Gives ids of the peer back. RFC 9000 §5.1.2 asks for a bound.
   *
   * @throws GodwitError PROTOCOL_VIOLATION when the peer makes us retire without end.
   */
  addRetiredConnectionIds(sequences: readonly number[]): void {
    for (const sequence of sequences) this.retiredIds.add(sequence);
    if (this.retiredIds.size > FORCED_REPLIES_PENDING)
      throw new GodwitError("PROTOCOL_VIOLATION", "the peer makes us retire connection ids without end");
  }

  /** Asks the peer for another rhythm of acknowledgements. */
  addAckFrequency(rhythm: AckRhythm): void {
    this.rhythm = rhythm;
    this.rhythmSequence++;
  }

  /** Tells the peer that all credit is used and nothing is under way. */
  addBlocked(): void {
    this.needsBlocked = true;
  }

  /** Writes as many waiting frames as fit. */
  write(builder: PacketBuilder, nowUs: number): void {
    if (this.needsHandshakeDone && builder.roomBytes >= 1) {
      this.needsHandshakeDone = false;
      builder.at = writeBare(builder.bytes, builder.at, FRAME.handshakeDone);
      builder.record(SENT.handshakeDone, 0, 0, 0);
    }
    this.writeLimits(builder);
    this.writeStreamEnds(builder);
    this.writeIds(builder);
    this.writeRhythm(builder);
    if (this.needsPing > 0 && builder.roomBytes >= 1) {
      this.needsPing--;
      // An IMMEDIATE_ACK is a PING that is answered without the peer's acknowledgement delay.
      builder.at = writeBare(builder.bytes, builder.at, FRAME.immediateAck);
      builder.record(SENT.ping, nowUs, 0, 0);
    }
  }

  private writeLimits(builder: PacketBuilder): void {
    const { streams, window, credit } = this.sources;
    if (window.needsAnnouncement && numberBytes(window.limit) <= builder.roomBytes) {
      builder.at = writeNumber(builder.bytes, builder.at, FRAME.maxObjectData, window.takeAnnouncement());
      builder.record(SENT.maxObjectData, 0, 0, 0);
    }
    if (streams.needsMaxStreams && numberBytes(streams.maxStreams) <= builder.roomBytes) {
      streams.needsMaxStreams = false;
      builder.at = writeNumber(builder.bytes, builder.at, FRAME.maxStreams, streams.maxStreams);
      builder.record(SENT.maxStreams, 0, 0, 0);
    }
    for (const id of streams.windowUpdates) {
      const limit = streams.windowLimit(id);
      if (limit !== undefined) {
        if (streamNumberBytes(id, limit) > builder.roomBytes) return;
        builder.at = writeStreamNumber(builder.bytes, builder.at, FRAME.maxStreamData, id, limit);
        builder.record(SENT.maxStreamData, id, 0, 0);
      }
      streams.windowUpdates.delete(id);
    }
    if (this.needsBlocked && numberBytes(credit.sentBytes) <= builder.roomBytes) {
      this.needsBlocked = false;
      const limit = credit.takeBlockedReport();
      builder.at = writeNumber(builder.bytes, builder.at, FRAME.objectDataBlocked, limit);
      builder.record(SENT.objectDataBlocked, limit, 0, 0);
    }
  }

  private writeStreamEnds(builder: PacketBuilder): void {
    const { streams } = this.sources;
    for (const id of streams.resets) {
      const facts = streams.resetFacts(id);
      if (facts !== undefined) {
        if (resetStreamBytes(id, facts.code, facts.finalSize) > builder.roomBytes) return;
        builder.at = writeResetStream(builder.bytes, builder.at, id, facts.code, facts.finalSize);
        builder.record(SENT.resetStream, id, 0, 0);
      }
      streams.resets.delete(id);
    }
    for (const id of streams.stops) {
      if (stopSendingBytes(id, 0) > builder.roomBytes) return;
      builder.at = writeStopSending(builder.bytes, builder.at, id, 0);
      builder.record(SENT.stopSending, id, 0, 0);
      streams.stops.delete(id);
    }
  }

  private writeIds(builder: PacketBuilder): void {
    const { localIds } = this.sources;
    for (const sequence of this.newIds) {
      const id = localIds.bySequence(sequence);
      if (id !== undefined) {
        if (newConnectionIdBytes(sequence, 0) > builder.roomBytes) return;
        builder.at = writeNewConnectionId(builder.bytes, builder.at, sequence, 0, id);
        builder.record(SENT.newConnectionId, sequence, 0, 0);
      }
      this.newIds.delete(sequence);
    }
    for (const sequence of this.retiredIds) {
      if (numberBytes(sequence) > builder.roomBytes) return;
      builder.at = writeNumber(builder.bytes, builder.at, FRAME.retireConnectionId, sequence);
      builder.record(SENT.retireConnectionId, sequence, 0, 0);
      this.retiredIds.delete(sequence);
    }
  }

  private writeRhythm(builder: PacketBuilder): void {
    const { rhythm, rhythmSequence } = this;
    if (rhythm === undefined) return;
    const { packetThreshold, maxAckDelayUs, reorderingThreshold } = rhythm;
    const size = ackFrequencyBytes(rhythmSequence, packetThreshold, maxAckDelayUs, reorderingThreshold);
    if (size > builder.roomBytes) return;
    builder.at = writeAckFrequency(
      builder.bytes,
      builder.at,
      rhythmSequence,
      packetThreshold,
      maxAckDelayUs,
      reorderingThreshold,
    );
    builder.record(SENT.ackFrequency, packetThreshold, maxAckDelayUs, reorderingThreshold);
    this.rhythm = undefined;
  }

  /** A control frame was lost: what is still true is queued again. */
  handleLost(kind: number, a: number, b: number, c: number): void {
    const { streams, window, credit } = this.sources;
    if (kind === SENT.handshakeDone) this.needsHandshakeDone = true;
    else if (kind === SENT.maxObjectData) window.handleAnnouncementLost();
    else if (kind === SENT.maxStreams) streams.needsMaxStreams = true;
    else if (kind === SENT.maxStreamData) streams.handleWindowUpdateLost(a);
    else if (kind === SENT.resetStream) streams.handleResetLost(a);
    else if (kind === SENT.stopSending) streams.stop(a);
    else if (kind === SENT.newConnectionId) this.newIds.add(a);
    else if (kind === SENT.retireConnectionId) this.retiredIds.add(a);
    else if (kind === SENT.objectDataBlocked) credit.handleBlockedReportLost(a);
    else if (kind === SENT.ackFrequency && this.rhythm === undefined)
      this.addAckFrequency({ packetThreshold: a, maxAckDelayUs: b, reorderingThreshold: c });
  }
}
