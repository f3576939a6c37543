/**
 * Decides what goes into the next packets of one connection and when there are none to send.
 * Order: path validation, CLOSE, ACK, control, streams, file data. Sources: RFC 9000 §13; RFC 9002 §6.2.4, §7.
 */
import { MIN_DATAGRAM_BYTES } from "../base/limits.ts";
import { ECN, type PacketBatch } from "../wire/batch.ts";
import { closeBytes, FRAME, PATH_DATA_FRAME_BYTES, writeBare, writeClose } from "../wire/frames.ts";
import { SHORT_HEADER_BYTES } from "../wire/header.ts";
import { acksPerRound, ackThreshold } from "./ack-frequency.ts";
import { ACK_EVERY_PACKETS } from "./ack-tracker.ts";
import { BulkSender } from "./bulk-sender.ts";
import { TRAIN_DATAGRAMS } from "./congestion/packet-train.ts";
import type { SendLimit } from "./limit-clock.ts";
import { TAG_BYTES } from "./crypto.ts";
import { PacketBuilder } from "./packet-builder.ts";
import type { PacketReceiver } from "./packet-receiver.ts";
import { SENT } from "./sent-frames.ts";
import type { Session } from "./session.ts";
import { COPIED_DATA_PACKETS, TailCopies, type ObservedLoss } from "./tail-copies.ts";

/** Packet numbers left out: one in this many on average. RFC 9000 §21.4. */
const SKIP_INTERVAL_PACKETS = 500;

/** Bounds of the ACK delay the sender asks for, in microseconds: a timer's resolution; RFC 9000's default. */
const ACK_DELAY_MIN_US = 1_000;
const ACK_DELAY_MAX_US = 25_000;

/** Data that has to be announced for the path to be asked while the peer thinks: a hundred times what that costs. */
const RATE_PROBE_WORTH_BYTES = 1_048_576;

/** Round trips after the offer: a peer that is busy with it would acknowledge the burst in one lump. */
const RATE_PROBE_DELAY = 0.1;

/** Bytes of a packet with one path frame. */
const PATH_PACKET_BYTES = SHORT_HEADER_BYTES + PATH_DATA_FRAME_BYTES + TAG_BYTES;

/** Sends for one connection. */
export class PacketSender {
  private readonly session: Session;
  private readonly receiver: PacketReceiver;
  private readonly builder: PacketBuilder;
  private readonly bulk: BulkSender;
  private nextPacketNumber = 0;
  private skipAt: number;
  private probes = 0;
  /** When pacing lets the next packet go, or `undefined` when pacing is not the limit. */
  private pacedUntilUs: number | undefined;
  private hasToWait = false;
  private readonly copies = new TailCopies();
  /** Whether the path was asked for its rate: once in a connection. */
  private hasProbedRate = false;
  private probeRateAtUs = 0;
  private askedThreshold = ACK_EVERY_PACKETS;
  private askedAtUs = -Infinity;

  /** @param receiver - Takes back what a probe shall carry again, and learns which packet probes the path's MTU. */
  constructor(session: Session, receiver: PacketReceiver) {
    this.session = session;
    this.receiver = receiver;
    this.builder = new PacketBuilder(session.sentFrames);
    this.bulk = new BulkSender(session);
    this.skipAt = this.nextSkip();
  }

  /** Size of full datagrams. */
  private get datagramBytes(): number {
    return this.session.datagramSize.bytes;
  }

  /** Payload bytes sent again. */
  get retransmittedBytes(): number {
    return this.builder.retransmittedBytes;
  }

  /** When the pacer wants `poll` to be called, or `undefined`. */
  get timeoutUs(): number | undefined {
    return this.pacedUntilUs;
  }

  /** Whether window or pacing, not the lack of data, ended the last `poll`. */
  get isHeld(): boolean {
    return this.hasToWait;
  }

  /** Whether there is something to send and neither window nor pacing forbade it last time. */
  get mayTransmit(): boolean {
    return !this.hasToWait && this.hasWork();
  }

  /**
   * Appends packets to the batch, unsealed, as far as window, pacing, flow control and room allow.
   * All are short-header packets with their numbers set.
   */
  poll(batch: PacketBatch, nowUs: number): void {
    const { session } = this;
    this.pacedUntilUs = undefined;
    if (session.closing.state !== "open") {
      if (session.closing.needsPacket) this.sendClose(batch, nowUs);
      return;
    }
    this.sendPathFrames(batch, nowUs);
    this.probes += session.recovery.takeProbeCount();
    this.adaptToRate(nowUs);
    let isAppLimited = false;
    let limit: SendLimit | undefined;
    while (batch.hasRoom(this.datagramBytes)) {
      const hasWork = this.hasWork();
      const needsAck = session.tracker.isDue(nowUs);
      if (this.probes > 0) {
        this.probes--;
        this.sendProbe(batch, nowUs, hasWork);
        continue;
      }
      if (hasWork) {
        limit = this.sendingLimit(nowUs);
        if (limit === undefined) {
          if (!this.sendMtuProbe(batch, nowUs) && !this.sendBulk(batch, nowUs))
            this.sendPacket(batch, nowUs, this.datagramBytes, true);
          continue;
        }
      } else {
        if (this.reportBlocked() || this.sendCopy(batch, nowUs)) continue;
        if (this.probeRate(batch, nowUs)) continue;
        isAppLimited = true;
        limit = this.idleLimit();
      }
      if (needsAck) this.sendPacket(batch, nowUs, this.datagramBytes, false);
      break;
    }
    if (isAppLimited) session.recovery.handleAppLimited(nowUs);
    this.hasToWait = limit === "congestion" || limit === "pacing";
    session.limits.enter(limit ?? "application", nowUs);
  }

  private hasWork(): boolean {
    const { control, streams, source, credit } = this.session;
    if (!control.isEmpty || streams.hasSendable) return true;
    return source !== undefined && this.builder.hasData(source, credit);
  }

  /** What keeps an ack-eliciting packet from being sent now, or `undefined`. */
  private sendingLimit(nowUs: number): SendLimit | undefined {
    const { recovery } = this.session;
    if (!recovery.canSend(this.datagramBytes)) return "congestion";
    const sendAtUs = recovery.nextSendTimeUs(nowUs);
    if (sendAtUs <= nowUs) return undefined;
    this.pacedUntilUs = sendAtUs;
    return "pacing";
  }

  /**
   * Tells the peer when nothing is under way and there is no credit: bytes that it will never get may
   * have used it up. Returns whether there is now a frame to send.
   */
  private reportBlocked(): boolean {
    const { credit, sentFrames, control, source } = this.session;
    if (source === undefined || !credit.needsBlockedReport || sentFrames.outstandingCount > 0) return false;
    control.addBlocked();
    return true;
  }

  /** Sends once more what somebody waits for at the end of a flight, if the path loses packets. */
  private sendCopy(batch: PacketBatch, nowUs: number): boolean {
    const { copies, session } = this;
    const { recovery, sentFrames } = session;
    if (sentFrames.outstandingCount === 0 || this.idleLimit() !== "application") return false;
    const loss = this.observedLoss();
    copies.handlePackets(recovery.statistics.packetsSent + this.receiver.packetsReceived);
    if (!copies.isWanted(loss)) return false;
    const isShort = sentFrames.outstandingCount <= COPIED_DATA_PACKETS;
    const number = sentFrames.nextAwaited(copies.lowest, isShort);
    if (number < 0) return false;
    if (!copies.isWorthCopy(number, loss)) {
      copies.handleSkipped(number);
      return true;
    }
    const dueUs = copies.dueUs(recovery.sentAtUs(number), recovery.smoothedRttUs);
    if (nowUs < dueUs) {
      this.pacedUntilUs = dueUs;
      return false;
    }
    if (this.sendingLimit(nowUs) !== undefined) return false;
    sentFrames.repeat(number, this.receiver);
    const copy = this.nextPacketNumber;
    this.sendPacket(batch, nowUs, this.datagramBytes, true);
    if (this.nextPacketNumber > copy) copies.handleCopied(number, this.nextPacketNumber - 1);
    else copies.handleSkipped(number);
    return true;
  }

  /**
   * Asks the path for its rate while the peer thinks about what it was offered: a burst of empty packets,
   * whose acknowledgements the bottleneck spaces (packet-train.ts). Without it the first data would be the
   * burst, and startup one round trip later. Returns whether something was sent.
   */
  private probeRate(batch: PacketBatch, nowUs: number): boolean {
    const { source, recovery } = this.session;
    if (this.hasProbedRate || (source?.offeredBytes ?? 0) < RATE_PROBE_WORTH_BYTES) return false;
    if (this.probeRateAtUs === 0) this.probeRateAtUs = nowUs + RATE_PROBE_DELAY * recovery.smoothedRttUs;
    if (nowUs < this.probeRateAtUs) {
      this.pacedUntilUs ??= this.probeRateAtUs;
      return false;
    }
    this.hasProbedRate = true;
    for (let sent = 0; sent < TRAIN_DATAGRAMS; sent++) {
      if (!batch.hasRoom(this.datagramBytes) || this.sendingLimit(nowUs) !== undefined) return sent > 0;
      this.begin(batch, this.datagramBytes);
      this.builder.at = writeBare(this.builder.bytes, this.builder.at, FRAME.ping);
      this.builder.record(SENT.probe, 0, 0, 0);
      this.finish(this.datagramBytes, this.session.paths.current, 0, nowUs, true);
    }
    return true;
  }

  /** What was lost both ways: a receiver's own packets are hardly ever acknowledged. */
  private observedLoss(): ObservedLoss {
    const { recovery, tracker } = this.session;
    const { packetsAcked, packetsLost } = recovery.statistics;
    const { packetsReceived } = this.receiver;
    const missing = Math.max(0, tracker.largestReceived + 1 - packetsReceived);
    return {
      lostPackets: packetsLost + missing,
      totalPackets: packetsAcked + packetsLost + packetsReceived + missing,
    };
  }

  /** Why there is nothing to send although the window has room. */
  private idleLimit(): SendLimit {
    const { source, credit } = this.session;
    if (source === undefined) return "application";
    if (credit.availableBytes <= 0) return "flow-control";
    return source.isWaitingForDisk ? "disk" : "application";
  }

  private begin(batch: PacketBatch, maxBytes: number): void {
    const { session } = this;
    if (this.nextPacketNumber === this.skipAt) {
      session.recovery.handleSkipped(this.nextPacketNumber++);
      this.skipAt = this.nextSkip();
    }
    this.builder.begin(batch, maxBytes, session.remoteIds.current, session.keys.phase, this.nextPacketNumber);
  }

  private nextSkip(): number {
    return this.nextPacketNumber + 1 + this.session.random.integer(1, 2 * SKIP_INTERVAL_PACKETS);
  }

  /** Ends the packet and tells everybody; nothing is sent if it is empty. */
  private finish(
    minimumBytes: number,
    addresses: Int32Array,
    addressIndex: number,
    nowUs: number,
    countsInFlight: boolean,
    isMtuProbe = false,
  ): void {
    const { session, builder } = this;
    if (builder.isEmpty) return;
    const { recovery } = session;
    const isAckEliciting = builder.isAckEliciting && countsInFlight;
    const ecn = isAckEliciting ? recovery.ecnCodepoint : ECN.notEct;
    const size = builder.finish(minimumBytes, addresses, addressIndex, ecn);
    const number = this.nextPacketNumber++;
    recovery.handleSent(number, size, nowUs, isAckEliciting, isMtuProbe, ecn !== ECN.notEct);
    if (isAckEliciting) session.liveness.handleSent(nowUs);
    if (session.events.wantsPackets)
      session.events.add({
        type: "packet-sent",
        number,
        sizeBytes: size,
        isAckEliciting,
        isProbe: isMtuProbe,
      });
  }

  /** Sends packets with nothing but new file data, if that is all there is to send; returns whether it did. */
  private sendBulk(batch: PacketBatch, nowUs: number): boolean {
    const first = this.nextPacketNumber;
    // A larger window may make a probe of the path's MTU possible.
    if (!this.session.mtu.isResting(nowUs)) return false;
    this.nextPacketNumber = this.bulk.send(batch, first, this.skipAt, nowUs);
    return this.nextPacketNumber > first;
  }

  /** Sends one packet: the ACK if there is one, and, if `withWork`, all else that fits. */
  private sendPacket(batch: PacketBatch, nowUs: number, maxBytes: number, withWork: boolean): void {
    const { session, builder } = this;
    this.begin(batch, maxBytes);
    const reported = this.writeAck(nowUs);
    if (withWork) {
      if (!session.control.isEmpty) session.control.write(builder, nowUs);
      builder.writeStreams(session.streams);
      if (session.source !== undefined) builder.writeData(session.source, session.credit);
    }
    if (reported >= 0 && builder.isAckEliciting) builder.recordAck(reported);
    this.finish(0, session.paths.current, 0, nowUs, true);
  }

  /** Writes the ACK if there is news; returns the largest number it reports, or -1. */
  private writeAck(nowUs: number): number {
    const { tracker, localParameters } = this.session;
    if (!tracker.hasNews) return -1;
    if (!this.builder.writeAck(tracker, localParameters.ackDelayExponent, nowUs)) return -1;
    return tracker.handleAckSent();
  }

  /** Sends a probe: lost or new data if there is some, else what the oldest open packet carried. RFC 9002 §6.2.4. */
  private sendProbe(batch: PacketBatch, nowUs: number, hasWork: boolean): void {
    const { session } = this;
    if (!hasWork) session.sentFrames.repeatOldest(this.receiver);
    // Nobody should wait for the answer to a probe; and the frame makes the packet ask for one.
    // RFC 9000 §9.1: connection ids alone would count as probing of a path, and a peer that moved
    // and has nothing else to say would never be followed.
    session.control.addPing();
    // Full-sized packets may be what the path swallows.
    this.sendPacket(batch, nowUs, Math.min(session.mtu.probeTimeoutBytes, this.datagramBytes), true);
  }

  /** Sends a packet that is larger than the path is known to carry, if that is wanted now. RFC 8899 §4.1. */
  private sendMtuProbe(batch: PacketBatch, nowUs: number): boolean {
    const { session, builder } = this;
    const { mtu, recovery } = session;
    // Only on a path that works: an unanswered probe says nothing about size where nothing is answered.
    if (!recovery.hasRttSample || recovery.consecutiveProbeTimeouts > 0) return false;
    const size = mtu.nextProbeBytes(nowUs, recovery.congestionWindowBytes);
    if (size === undefined || !batch.hasRoom(size) || !recovery.canSend(size)) return false;
    this.begin(batch, size);
    builder.at = writeBare(builder.bytes, builder.at, FRAME.immediateAck);
    builder.record(SENT.probe, 0, 0, 0);
    this.receiver.mtuProbeNumber = this.nextPacketNumber;
    mtu.handleProbeSent();
    this.finish(size, session.paths.current, 0, nowUs, true, true);
    return true;
  }

  private sendPathFrames(batch: PacketBatch, nowUs: number): void {
    const { session, builder } = this;
    const { paths } = session;
    const intervalUs = session.recovery.probeTimeoutUs;
    while (paths.hasResponse && batch.hasRoom(MIN_DATAGRAM_BYTES)) {
      const slot = paths.responseSlot;
      this.begin(batch, MIN_DATAGRAM_BYTES);
      builder.writePathData(FRAME.pathResponse, paths.responseSource, slot * (PATH_DATA_FRAME_BYTES - 1));
      // RFC 9000 §8.2.2: as large as the challenge, so that the path's size is validated too.
      const size = Math.min(paths.responseLimitBytes, MIN_DATAGRAM_BYTES);
      this.finish(size, paths.responseAddresses, slot, nowUs, false);
      paths.dropResponse();
    }
    const address = paths.candidateAddress;
    if (address === undefined || !batch.hasRoom(MIN_DATAGRAM_BYTES)) return;
    const challenge = paths.takeChallenge(MIN_DATAGRAM_BYTES, intervalUs, nowUs);
    if (challenge === undefined) return;
    this.begin(batch, MIN_DATAGRAM_BYTES);
    builder.writePathData(FRAME.pathChallenge, challenge, 0);
    this.finish(paths.challengeDatagramBytes, address, 0, nowUs, false);
  }

  private sendClose(batch: PacketBatch, nowUs: number): void {
    const { session, builder } = this;
    if (!batch.hasRoom(MIN_DATAGRAM_BYTES)) return;
    const { code, reason } = session.closing.takeFrame();
    this.begin(batch, MIN_DATAGRAM_BYTES);
    // What was received is acknowledged a last time, if the reason leaves room.
    if (builder.roomBytes > closeBytes(code, reason.length) + PATH_PACKET_BYTES) this.writeAck(nowUs);
    const text = builder.roomBytes >= closeBytes(code, reason.length) ? reason : new Uint8Array(0);
    builder.at = writeClose(builder.bytes, builder.at, code, text);
    this.finish(0, session.paths.current, 0, nowUs, false);
  }

  /** Fits the size of datagrams and the number of ACKs to the rate; at most once a round trip. */
  private adaptToRate(nowUs: number): void {
    const { recovery, control } = this.session;
    // A pause says nothing about the rate.
    if (recovery.bytesInFlight === 0 || nowUs - this.askedAtUs < recovery.smoothedRttUs) return;
    this.askedAtUs = nowUs;
    this.receiver.chooseDatagramSize();
    const packetsPerRound = recovery.bytesInFlight / this.datagramBytes;
    const acks = acksPerRound(recovery.smoothedRttUs);
    const wanted = ackThreshold(packetsPerRound, acks);
    // Small changes are not worth a frame.
    if (wanted > this.askedThreshold / 2 && wanted < this.askedThreshold * 2) return;
    this.askedThreshold = wanted;
    const delayUs = Math.floor(recovery.smoothedRttUs / acks);
    control.addAckFrequency({
      packetThreshold: wanted,
      maxAckDelayUs: Math.min(ACK_DELAY_MAX_US, Math.max(ACK_DELAY_MIN_US, delayUs)),
      reorderingThreshold: 1,
    });
  }
}
