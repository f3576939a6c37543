/**
 * Opens the short-header packets of one connection and hands their frames to the parts.
 * Sources: RFC 9000 §12, §13, §19; docs/spec/wire.md.
 */
import { DecodeError, GodwitError } from "../base/errors.ts";
import { ACK_RANGES_PER_FRAME } from "../base/limits.ts";
import { addressText } from "../wire/address.ts";
import type { PacketBatch } from "../wire/batch.ts";
import { FrameReader, NO_FRAME } from "../wire/frame-reader.ts";
import { FRAME, isAckEliciting, isProbing } from "../wire/frames.ts";
import {
  decodePacketNumber,
  isShortHeader,
  readKeyPhase,
  readTruncatedPacketNumber,
  SHORT_HEADER_BYTES,
} from "../wire/header.ts";
import { BulkReceiver } from "./bulk-receiver.ts";
import { TAG_BYTES } from "./crypto.ts";
import type { ObjectPiece } from "./objects.ts";
import type { RecoveryHandler } from "./recovery/recovery-handler.ts";
import type { SentFrameHandler } from "./sent-frames.ts";
import { SENT } from "./sent-frames.ts";
import type { Session } from "./session.ts";

/** Key updates keep the previous key this many probe timeouts. RFC 9001 §6.5. */
const PREVIOUS_KEY_PROBE_TIMEOUTS = 3;

/** Receives for one connection. */
export class PacketReceiver implements RecoveryHandler, SentFrameHandler {
  private readonly session: Session;
  private readonly reader = new FrameReader();
  private readonly bulk: BulkReceiver;
  private readonly ranges = new Float64Array(2 * ACK_RANGES_PER_FRAME);
  /** Acknowledged piece that the next one may continue at either end: neighbours are reported together. */
  private readonly acked: ObjectPiece = { object: 0, offset: 0, availableBytes: 0, isRetransmission: false };
  /** When the ACK being handled arrived. */
  private ackNowUs = 0;
  /** Packet that probes a larger datagram size, or -1. */
  mtuProbeNumber = -1;
  packetsReceived = 0;
  bytesReceived = 0;
  objectBytesReceived = 0;
  objectBytesDuplicate = 0;
  pathChanges = 0;

  constructor(session: Session) {
    this.session = session;
    this.bulk = new BulkReceiver(session, this.reader);
  }

  /**
   * Handles datagrams `[from, to)`, all with short headers and a connection id of ours.
   *
   * @throws GodwitError when the peer breaks the protocol; the connection closes with it.
   */
  handleDatagrams(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    const { keys, tracker } = this.session;
    let at = from;
    while (at < to) {
      // A run: consecutive datagrams that the same key shall open, in one crossing.
      const choice = this.prepare(batch, at);
      let end = at + 1;
      while (end < to && this.prepare(batch, end) === choice) end++;
      if (choice >= 0 && keys.open(batch, at, end, choice) > 0) {
        let lowest = Infinity;
        for (let i = at; i < end; i++)
          if (batch.opened[i] === 1) lowest = Math.min(lowest, batch.packetNumbers[i]);
        const keepUs = PREVIOUS_KEY_PROBE_TIMEOUTS * this.session.recovery.probeTimeoutUs;
        if (keys.handleOpened(choice, lowest, nowUs, keepUs))
          this.session.events.add({ type: "key-updated", phase: keys.phase, initiatedBy: "peer" });
        for (let i = at; i < end; i++) {
          i += this.handleBulk(batch, i, end, nowUs);
          if (i === end) break;
          if (batch.opened[i] === 0) this.drop(batch.lengths[i], "not-authentic");
          else if (tracker.isDuplicate(batch.packetNumbers[i])) {
            tracker.duplicatePackets++;
            this.drop(batch.lengths[i], "duplicate");
          } else this.handlePacket(batch, i, nowUs);
        }
      } else for (let i = at; i < end; i++) this.drop(batch.lengths[i], "not-authentic");
      at = end;
    }
  }

  /** Decodes the packet number of datagram `index` and returns which key fits, or -1 for none of ours. */
  private prepare(batch: PacketBatch, index: number): number {
    const { keys, tracker } = this.session;
    const offset = batch.offsets[index];
    if (!isShortHeader(batch.bytes, offset, batch.lengths[index])) return -1;
    const truncated = readTruncatedPacketNumber(batch.bytes, offset);
    const packetNumber = decodePacketNumber(truncated, tracker.largestReceived);
    batch.packetNumbers[index] = packetNumber;
    return keys.choose(readKeyPhase(batch.bytes, offset), packetNumber);
  }

  private drop(sizeBytes: number, trigger: string): void {
    const { events } = this.session;
    if (events.wantsPackets) events.add({ type: "packet-dropped", sizeBytes, trigger });
  }

  /** Handles the packets from `from` on that carry nothing but a piece of file data each; returns how many. */
  private handleBulk(batch: PacketBatch, from: number, to: number, nowUs: number): number {
    const { bulk } = this;
    const count = bulk.handle(batch, from, to, nowUs);
    if (count === 0) return 0;
    this.packetsReceived += count;
    this.bytesReceived += bulk.handledBytes;
    this.objectBytesReceived += bulk.pieceBytes;
    this.objectBytesDuplicate += bulk.pieceBytes - bulk.newBytes;
    return count;
  }

  private handlePacket(batch: PacketBatch, index: number, nowUs: number): void {
    const { session, reader } = this;
    const { tracker, closing, events } = session;
    const packetNumber = batch.packetNumbers[index];
    const sizeBytes = batch.lengths[index];
    this.packetsReceived++;
    this.bytesReceived += sizeBytes;
    if (events.wantsPackets) events.add({ type: "packet-received", number: packetNumber, sizeBytes });
    session.liveness.handleReceived(nowUs);
    if (closing.state !== "open") closing.handlePacket();
    const start = batch.offsets[index] + SHORT_HEADER_BYTES;
    reader.reset(batch.bytes, start, batch.offsets[index] + sizeBytes - TAG_BYTES);
    let mustAcknowledge = false;
    let isOnlyProbing = true;
    for (let type = reader.next(); type !== NO_FRAME; type = reader.next()) {
      if (isAckEliciting(type)) mustAcknowledge = true;
      if (!isProbing(type)) isOnlyProbing = false;
      this.handleFrame(type, batch, index, nowUs);
    }
    const isNewest = packetNumber > tracker.largestReceived && !isOnlyProbing;
    tracker.handleReceived(packetNumber, mustAcknowledge, batch.ecn[index], nowUs);
    if (closing.state !== "open") return;
    if (session.paths.handleReceived(batch.addresses, index, sizeBytes, isNewest, nowUs))
      events.add({
        type: "path-changed",
        isValidated: false,
        address: addressText(batch.addresses, index),
      });
  }

  private handleFrame(type: number, batch: PacketBatch, index: number, nowUs: number): void {
    const { session, reader } = this;
    // RFC 9000 §10.2: after the end only a CLOSE means anything.
    if (session.closing.state !== "open" && type !== FRAME.close) return;
    switch (type) {
      case FRAME.padding:
      case FRAME.ping:
      case FRAME.streamDataBlocked:
      case FRAME.streamsBlocked:
        return;
      case FRAME.data:
        this.handleData(nowUs);
        return;
      case FRAME.stream: {
        const { streamId, offset, bytes, dataStart, dataLength, fin } = reader;
        session.streams.handlePiece(streamId, offset, bytes, dataStart, dataLength, fin);
        return;
      }
      case FRAME.ack:
      case FRAME.ackEcn:
        this.handleAck(nowUs, type === FRAME.ackEcn);
        return;
      case FRAME.maxObjectData:
        session.credit.raiseLimit(reader.limit);
        return;
      case FRAME.maxStreamData:
        session.streams.handleMaxStreamData(reader.streamId, reader.limit);
        return;
      case FRAME.maxStreams:
        session.streams.handleMaxStreams(reader.limit);
        return;
      case FRAME.objectDataBlocked:
        session.window.handleBlocked(reader.limit);
        return;
      default:
        this.handleRareFrame(type, batch, index, nowUs);
    }
  }

  private handleRareFrame(type: number, batch: PacketBatch, index: number, nowUs: number): void {
    const { session, reader } = this;
    switch (type) {
      case FRAME.resetStream:
        session.streams.handleReset(reader.streamId, reader.errorCode, reader.finalSize);
        return;
      case FRAME.stopSending:
        session.streams.handleStop(reader.streamId, reader.errorCode);
        return;
      case FRAME.newConnectionId:
        session.remoteIds.handleNew(reader.sequence, reader.retirePriorTo, reader.bytes, reader.dataStart);
        session.control.addRetiredConnectionIds(session.remoteIds.takeRetired());
        return;
      case FRAME.retireConnectionId:
        session.localIds.handleRetire(reader.sequence);
        session.control.addNewConnectionIds(
          session.localIds.replenish(session.peerParameters.activeConnectionIdLimit),
        );
        return;
      case FRAME.pathChallenge:
        session.paths.handleChallenge(
          reader.bytes,
          reader.dataStart,
          batch.addresses,
          index,
          batch.lengths[index],
        );
        return;
      case FRAME.pathResponse:
        this.handlePathResponse(nowUs);
        return;
      case FRAME.close: {
        const reason = reader.bytes.slice(reader.dataStart, reader.dataStart + reader.dataLength);
        session.closing.handleClose(reader.errorCode, reason, session.recovery.probeTimeoutUs, nowUs);
        return;
      }
      case FRAME.handshakeDone:
        // RFC 9000 §19.20: only the responder can confirm.
        if (session.role === "responder")
          throw new GodwitError("PROTOCOL_VIOLATION", "an initiator sent HANDSHAKE_DONE");
        this.handleConfirmed();
        return;
      case FRAME.immediateAck:
        session.tracker.requestNow(nowUs);
        return;
      case FRAME.ackFrequency:
        session.tracker.handleAckFrequency(
          reader.sequence,
          reader.packetThreshold,
          reader.maxAckDelayUs,
          reader.reorderingThreshold,
        );
        return;
      default:
        throw new DecodeError(`frame type 0x${type.toString(16)} has no meaning here`, reader.dataStart);
    }
  }

  private handleConfirmed(): void {
    if (this.session.isConfirmed) return;
    this.session.isConfirmed = true;
    this.session.events.add({ type: "handshake-confirmed" });
  }

  private handleData(nowUs: number): void {
    const { session, reader } = this;
    const { object, offset, bytes, dataStart, dataLength } = reader;
    if (session.sink === undefined)
      throw new GodwitError("PROTOCOL_VIOLATION", "file data arrived that nobody asked for");
    const newBytes = session.sink.handlePiece(object, offset, bytes, dataStart, dataLength, nowUs);
    this.objectBytesReceived += dataLength;
    this.objectBytesDuplicate += dataLength - newBytes;
    session.window.handleReceived(newBytes);
  }

  private handleAck(nowUs: number, hasEcnCounts: boolean): void {
    const { session, reader, ranges } = this;
    for (let i = 0; i < reader.rangeCount; i++) {
      ranges[2 * i] = reader.rangeStarts[i];
      ranges[2 * i + 1] = reader.rangeEnds[i] - 1;
    }
    this.ackNowUs = nowUs;
    const { recovery, keys, liveness } = session;
    const delayUs = reader.ackDelay * 2 ** session.peerParameters.ackDelayExponent;
    if (session.events.wantsPackets) this.reportAck(delayUs);
    const ackedBefore = recovery.statistics.packetsAcked;
    recovery.handleAck(
      reader.largestAcknowledged,
      delayUs,
      ranges,
      reader.rangeCount,
      nowUs,
      this,
      hasEcnCounts ? reader : undefined,
    );
    this.flushAcked();
    keys.handleAcked(reader.largestAcknowledged);
    if (recovery.statistics.packetsAcked > ackedBefore)
      liveness.handleProgress(recovery.bytesInFlight > 0, nowUs);
  }

  private reportAck(delayUs: number): void {
    const { session, reader, ranges } = this;
    const acked = Array.from({ length: reader.rangeCount }, (_, i): [number, number] => [
      ranges[2 * i],
      ranges[2 * i + 1],
    ]);
    session.events.add({ type: "ack-received", delayUs, ranges: acked });
  }

  /** Takes back what a timeout declares lost. */
  handleRecoveryTimeout(nowUs: number): void {
    this.session.recovery.handleTimeout(nowUs, this);
  }

  // What recovery tells about packets.

  handlePacketAcked(packetNumber: number, sizeBytes: number): void {
    const { session } = this;
    session.sentFrames.acked(packetNumber, this);
    if (packetNumber === this.mtuProbeNumber) {
      if (session.mtu.handleProbeAcked(sizeBytes)) this.handleDatagramSize("probe");
    } else if (session.mtu.handlePacketAcked(packetNumber, sizeBytes)) this.handleDatagramSize("black-hole");
  }

  handlePacketLost(packetNumber: number, sizeBytes: number, isMtuProbe: boolean): void {
    const { session } = this;
    session.sentFrames.lost(packetNumber, this);
    if (isMtuProbe) session.mtu.handleProbeLost(sizeBytes);
    else if (session.mtu.handlePacketLost(packetNumber, sizeBytes)) this.handleDatagramSize("black-hole");
  }

  handleSpuriousLoss(packetNumber: number): void {
    this.session.sentFrames.acked(packetNumber, this);
  }

  /** Tells everybody what the path carries after that changed. */
  handleDatagramSize(reason: "probe" | "black-hole" | "start"): void {
    const { mtu, events } = this.session;
    this.chooseDatagramSize();
    events.add({ type: "path-mtu-changed", datagramBytes: mtu.datagramBytes, reason });
  }

  /** Fits the size of full datagrams to the rate of the path. */
  chooseDatagramSize(): void {
    const { recovery, mtu, datagramSize } = this.session;
    if (datagramSize.choose(mtu.datagramBytes, recovery.deliveryRateBytesPerSecond, recovery.minRttUs))
      recovery.setDatagramBytes(datagramSize.bytes);
  }

  // What these packets carried.

  handleFrameAcked(kind: number, a: number, b: number, c: number): void {
    const { session } = this;
    if (kind === SENT.data || kind === SENT.dataAgain) {
      const { acked } = this;
      if (acked.availableBytes > 0 && acked.object === a) {
        // Packets are told newest first, the frames of one packet in their order.
        const isBefore = b + c === acked.offset;
        if (isBefore || acked.offset + acked.availableBytes === b) {
          if (isBefore) acked.offset = b;
          acked.availableBytes += c;
          return;
        }
      }
      this.flushAcked();
      acked.object = a;
      acked.offset = b;
      acked.availableBytes = c;
    } else if (kind === SENT.stream) session.streams.handleAcked(a, b, c, false);
    else if (kind === SENT.streamFinal) session.streams.handleAcked(a, b, c, true);
    else if (kind === SENT.resetStream) session.streams.handleResetAcked(a);
    else if (kind === SENT.ack) session.tracker.handleAckAcked(a);
    else if (kind === SENT.ackFrequency) session.recovery.setMaxAckDelayUs(b);
    else if (kind === SENT.ping) session.events.add({ type: "heartbeat", rttUs: this.ackNowUs - a });
  }

  handleFrameLost(kind: number, a: number, b: number, c: number): void {
    const { session } = this;
    if (kind === SENT.data || kind === SENT.dataAgain) {
      this.flushAcked();
      session.source?.handlePieceLost(a, b, c);
    } else if (kind === SENT.stream) session.streams.handleLost(a, b, c, false);
    else if (kind === SENT.streamFinal) session.streams.handleLost(a, b, c, true);
    else session.control.handleLost(kind, a, b, c);
  }

  private flushAcked(): void {
    const { acked } = this;
    if (acked.availableBytes === 0) return;
    this.session.source?.handlePieceAcked(acked.object, acked.offset, acked.availableBytes);
    acked.availableBytes = 0;
  }

  private handlePathResponse(nowUs: number): void {
    const { session, reader } = this;
    const { paths, events, recovery } = session;
    const change = paths.handleResponse(reader.bytes, reader.dataStart, nowUs);
    if (change === undefined) return;
    this.pathChanges++;
    const address = addressText(paths.current);
    events.add({ type: "path-validated", address, tookUs: change.tookUs });
    events.add({ type: "path-changed", isValidated: true, address });
    // RFC 9000 §9.4: a changed port alone is the same path behind a NAT that forgot.
    if (change.isRebinding) return;
    recovery.handlePathChange(nowUs);
    session.mtu.handlePathChange();
    this.handleDatagramSize("start");
    session.remoteIds.next();
    session.control.addRetiredConnectionIds(session.remoteIds.takeRetired());
  }
}
