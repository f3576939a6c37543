/**
 * Recovery of one path: which packets are in flight, which are lost, when to probe, how fast the
 * path delivers, and when the next packet may go. Decides nothing about what a packet carries.
 *
 * Pure: time comes with each call. Sources: RFC 9002 (loss, PTO, persistent congestion), RFC 8985
 * (reordering, tail probes), draft-cheng-iccrg-delivery-rate-estimation (rate samples).
 * Departures: docs/design/recovery.md.
 */
import { assert } from "../../base/assert.ts";
import { GodwitError } from "../../base/errors.ts";
import { SENT_PACKETS_TRACKED } from "../../base/limits.ts";
import type { EventQueue } from "../../events/queue.ts";
import type { EcnCounts } from "../../wire/frames.ts";
import type { CongestionController, CongestionControllerFactory } from "../congestion/controller.ts";
import { Pacer } from "../pacer.ts";
import { AckedRanges } from "./acked-ranges.ts";
import { EcnValidation, type EcnState } from "./ecn.ts";
import { ReorderingTolerance } from "./reordering.ts";
import { GRANULARITY_US, RttEstimator } from "./rtt.ts";
import { emptyAckSample, emptyLossSample } from "./samples.ts";
import {
  ACKED,
  APP_LIMITED,
  LOST,
  MARKED,
  MTU_PROBE,
  OUTSTANDING,
  SentPackets,
  SILENT,
  SKIPPED,
} from "./sent-packets.ts";
import { emptyStatistics, type RecoveryStatistics } from "./statistics.ts";

/** What becomes of packets, told while an acknowledgement or a timeout is processed. */
export interface RecoveryHandler {
  /** A packet arrived, for the first time we hear of it. */
  handlePacketAcked(packetNumber: number, sizeBytes: number, sentAtUs: number): void;
  /** A packet is declared lost: what it carried may be sent again. */
  handlePacketLost(packetNumber: number, sizeBytes: number, isMtuProbe: boolean): void;
  /** A packet declared lost arrived after all. Told instead of `handlePacketAcked`. */
  handleSpuriousLoss(packetNumber: number): void;
}

/** What a `Recovery` is made of. */
export interface RecoveryOptions {
  readonly controllerFactory: CongestionControllerFactory;
  readonly datagramBytes: number;
  readonly nowUs: number;
  /** Numbers in [0, 1) for probing jitter. */
  readonly randomFloat: () => number;
  readonly events?: EventQueue | undefined;
  /** Longest time the peer promises to delay an acknowledgement, in microseconds. */
  readonly maxAckDelayUs: number;
  /** The user's cap in front of everything else; may be shared by connections. */
  readonly rateCap?: Pacer | undefined;
  /** Longest wait between probes once the first few brought no answer, in microseconds. */
  readonly maxProbeIntervalUs?: number | undefined;
}

/**
 * Probe timeouts back off no further than this, in microseconds: one small packet a second loads no
 * path, and a path that returns is noticed within a second. Departure from RFC 9002 §6.2.1.
 */
export const PROBE_INTERVAL_MAX_US = 1_000_000;

/**
 * Longest wait for the first probe, in microseconds: a round-trip time measured across a pause of
 * this process can be a minute, and a window lost meanwhile must not wait for several of them.
 */
export const PROBE_BASE_MAX_US = 10_000_000;

/** Probes per timeout. RFC 9002 §6.2.4 allows two: one alone is lost too often where loss is high. */
const PROBES_PER_TIMEOUT = 2;

/** Timeouts of silence that make persistent congestion. RFC 9002 §7.6.1 (kPersistentCongestionThreshold). */
const PERSISTENT_CONGESTION_THRESHOLD = 3;

/** Round-trip times that the row of a lost packet is kept to recognise a late acknowledgement. */
const LOST_ROW_ROUNDS = 4;

/** At least this long, in microseconds: jitter does not shrink with a short round trip. */
const LOST_ROW_MIN_US = 200_000;

/** Rows of packets without ack-eliciting content kept in case the peer names them. */
const SILENT_ROWS = 1_024;

/** Least time between two `recovery-updated` events, in microseconds: fifty a second feed any chart. */
const UPDATE_INTERVAL_US = 20_000;

/** Recovery, congestion control and pacing of one path in one packet number space. */
export class Recovery {
  readonly rtt = new RttEstimator();
  readonly statistics: RecoveryStatistics = emptyStatistics();
  private readonly controller: CongestionController;
  private readonly pacer: Pacer;
  private readonly rateCap: Pacer | undefined;
  private readonly packets = new SentPackets();
  private readonly tolerance = new ReorderingTolerance();
  private readonly events: EventQueue | undefined;
  private readonly maxProbeIntervalUs: number;
  private maxAckDelayUs: number;
  private inFlight = 0;

  /** Lowest packet whose fate is open; equals `packets.next` when there is none. */
  private lowestOutstanding = 0;
  private largestAckedNumber = -1;
  private readonly acked = new AckedRanges();
  private readonly ecn = new EcnValidation();
  private reportedEcnState: EcnState = this.ecn.state;
  private cePackets = 0;

  /** When the earliest overtaken packet is lost by age, or `undefined`. RFC 9002 §6.1.2. */
  private lossTimeUs: number | undefined = undefined;
  /** What the probe timeout counts from: the latest ack-eliciting packet or the latest timeout. */
  private probeBaseUs = 0;
  private probeTimeoutCount = 0;
  private probesWanted = 0;
  /** When the run of losses without an acknowledgement between them began. RFC 9002 §7.6.2. */
  private lossRunStartUs: number | undefined = undefined;
  private isPersistent = false;
  /** A round trip ends when a packet sent after its start is acknowledged. */
  private roundEnd = 0;

  // Delivery rate estimation; names in comments are the draft's.
  private totalDelivered = 0; // C.delivered
  private deliveredAtUs = 0; // C.delivered_time
  private firstSentAtUs = 0; // C.first_sent_time
  private totalLost = 0; // C.lost
  private appLimitedUntil = 0; // C.app_limited

  private readonly ackSample = emptyAckSample();
  private readonly lossSample = emptyLossSample();
  private updateEventDueUs = 0;
  private reportedState: string;

  constructor(options: RecoveryOptions) {
    const { controllerFactory, datagramBytes, nowUs, randomFloat } = options;
    this.maxAckDelayUs = options.maxAckDelayUs;
    this.events = options.events;
    this.rateCap = options.rateCap;
    this.maxProbeIntervalUs = options.maxProbeIntervalUs ?? PROBE_INTERVAL_MAX_US;
    this.controller = controllerFactory({ datagramBytes, nowUs, randomFloat });
    this.pacer = new Pacer(datagramBytes);
    this.reportedState = this.controller.state;
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
  }

  /** Bytes of ack-eliciting packets sent and neither acknowledged nor declared lost. */
  get bytesInFlight(): number {
    return this.inFlight;
  }

  /** Most bytes that may be in flight. */
  get congestionWindowBytes(): number {
    return this.controller.congestionWindowBytes;
  }

  /** Rate the controller asks for, in bytes per second. */
  get pacingRateBytesPerSecond(): number {
    return this.controller.pacingRateBytesPerSecond;
  }

  /** Bandwidth the controller believes in, in bytes per second, or 0. */
  get bandwidthBytesPerSecond(): number {
    return this.controller.bandwidthBytesPerSecond;
  }

  /** What the path delivers, in bytes per second: the controller's estimate, or a window each round trip; `Infinity` before the first sample. */
  get deliveryRateBytesPerSecond(): number {
    const { controller, rtt } = this;
    if (controller.bandwidthBytesPerSecond > 0) return controller.bandwidthBytesPerSecond;
    return rtt.hasSample ? (controller.congestionWindowBytes * 1e6) / rtt.smoothedUs : Infinity;
  }

  /** Name and state of the controller, for people and qlog. */
  get controllerName(): string {
    return this.controller.name;
  }
  get controllerState(): string {
    return this.controller.state;
  }
  get slowStartThresholdBytes(): number {
    return this.controller.slowStartThresholdBytes;
  }

  /** What the path is known to do with ECN marks. */
  get ecnState(): EcnState {
    return this.ecn.state;
  }
  /** ECN codepoint of the next ack-eliciting packet. */
  get ecnCodepoint(): number {
    return this.ecn.codepoint;
  }

  /** Latest round-trip time as measured, in microseconds; 0 before the first sample. */
  get latestRttUs(): number {
    return this.rtt.latestUs;
  }
  /** Smoothed round-trip time, in microseconds; an assumption before the first sample. */
  get smoothedRttUs(): number {
    return this.rtt.smoothedUs;
  }
  /** Mean deviation of the round-trip time, in microseconds. */
  get rttVariationUs(): number {
    return this.rtt.variationUs;
  }
  /** Least round-trip time, in microseconds; 0 before the first sample. */
  get minRttUs(): number {
    return this.rtt.minUs;
  }
  /** Whether a round-trip time was measured. */
  get hasRttSample(): boolean {
    return this.rtt.hasSample;
  }
  /** Largest packet number acknowledged, or -1. */
  get largestAcked(): number {
    return this.largestAckedNumber;
  }
  /** Probe timeouts since the last acknowledgement. */
  get consecutiveProbeTimeouts(): number {
    return this.probeTimeoutCount;
  }

  /** Probe timeout without backoff, in microseconds. RFC 9002 §6.2.1. */
  get probeTimeoutUs(): number {
    const { rtt } = this;
    return rtt.smoothedUs + Math.max(4 * rtt.variationUs, GRANULARITY_US) + this.maxAckDelayUs;
  }

  /** Whether the window has room for an ack-eliciting packet of this size. */
  canSend(sizeBytes: number): boolean {
    // A quarter of the table is left for probes and for packets that only acknowledge.
    const { packets, controller } = this;
    return (
      this.inFlight + sizeBytes <= controller.congestionWindowBytes &&
      packets.next - packets.lowest < (SENT_PACKETS_TRACKED * 3) / 4
    );
  }

  /** Earliest time the pacer lets the next packet go; `nowUs` when it may go at once. */
  nextSendTimeUs(nowUs: number): number {
    const pacedUs = this.pacer.nextSendTimeUs(nowUs);
    if (this.rateCap === undefined) return pacedUs;
    const cappedUs = this.rateCap.nextSendTimeUs(nowUs);
    // While the user's cap holds the rate, samples say nothing about the path.
    if (cappedUs > pacedUs) this.handleAppLimited(nowUs);
    return Math.max(pacedUs, cappedUs);
  }

  /** Bytes that may leave in one burst now, 0 when it is not time yet; `Infinity` without pacing. */
  sendQuantumBytes(nowUs: number): number {
    const quantum = this.pacer.sendQuantumBytes(nowUs);
    return this.rateCap === undefined ? quantum : Math.min(quantum, this.rateCap.sendQuantumBytes(nowUs));
  }

  /**
   * A packet was handed to the socket. Numbers ascend one by one, left-out ones told by `handleSkipped`.
   *
   * @param sizeBytes - UDP payload.
   * @param isAckEliciting - Whether the peer will acknowledge it: only then it counts in flight.
   * @param isMarked - Whether it was sent with ECT(0).
   */
  handleSent(
    packetNumber: number,
    sizeBytes: number,
    nowUs: number,
    isAckEliciting: boolean,
    isMtuProbe: boolean,
    isMarked = false,
  ): void {
    const { packets } = this;
    if (packets.needsGrowth) this.makeRoom(nowUs);
    if (this.inFlight === 0) {
      // The draft's send rule: a flight that starts from idle starts new intervals.
      this.firstSentAtUs = nowUs;
      this.deliveredAtUs = nowUs;
    }
    const wasNext = packets.next;
    const row = packets.append(packetNumber);
    if (this.lowestOutstanding === wasNext && wasNext !== packetNumber) this.lowestOutstanding = packetNumber;
    this.statistics.packetsSent++;
    this.statistics.bytesSent += sizeBytes;
    this.rateCap?.handleSent(sizeBytes, nowUs);
    packets.sizes[row] = sizeBytes;
    packets.sentAtUs[row] = nowUs;
    if (!isAckEliciting) {
      packets.flags[row] = SILENT;
      return;
    }
    // What was in flight when the application paused may have been lost since: then the pause is over sooner.
    this.appLimitedUntil = Math.min(this.appLimitedUntil, this.totalDelivered + this.inFlight);
    this.inFlight += sizeBytes;
    packets.flags[row] =
      OUTSTANDING |
      (isMtuProbe ? MTU_PROBE : 0) |
      (isMarked ? MARKED : 0) |
      (this.appLimitedUntil !== 0 ? APP_LIMITED : 0);
    if (isMarked) this.ecn.handleSent();
    packets.firstSentAtUs[row] = this.firstSentAtUs;
    packets.deliveredAtUs[row] = this.deliveredAtUs;
    packets.deliveredBytes[row] = this.totalDelivered;
    packets.lostBytes[row] = this.totalLost;
    packets.bytesInFlight[row] = this.inFlight;
    this.probeBaseUs = nowUs;
    this.pacer.handleSent(sizeBytes, nowUs);
    this.controller.handleSent(nowUs, packetNumber, sizeBytes, this.inFlight);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
  }

  /** A packet number was left out on purpose: a peer that acknowledges it lies. RFC 9000 §21.4. */
  handleSkipped(packetNumber: number): void {
    const { packets } = this;
    if (packets.isFull) this.forgetLowest();
    const wasNext = packets.next;
    packets.flags[packets.append(packetNumber)] = SKIPPED;
    if (this.lowestOutstanding === wasNext && wasNext !== packetNumber) this.lowestOutstanding = packetNumber;
  }

  /**
   * An ACK frame arrived.
   *
   * @param largest - Largest packet number it acknowledges.
   * @param ackDelayUs - Delay the peer reported, in microseconds.
   * @param ranges - Pairs `low, high` (both inclusive), highest first.
   * @param rangeCount - Number of pairs.
   * @param ecnCounts - What the peer has counted of marked packets, if the frame says.
   * @throws GodwitError PROTOCOL_VIOLATION when it acknowledges what was never sent.
   */
  handleAck(
    largest: number,
    ackDelayUs: number,
    ranges: ArrayLike<number>,
    rangeCount: number,
    nowUs: number,
    handler: RecoveryHandler,
    ecnCounts?: EcnCounts,
  ): void {
    const { packets, rtt, ackSample: sample } = this;
    assert(rangeCount > 0 && ranges[1] === largest, "the first range ends with the largest number");
    this.reportForgotten(handler);
    if (largest >= packets.next) {
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        `peer acknowledged packet ${largest}, which was never sent`,
      );
    }
    const priorLargestAcked = this.largestAckedNumber;
    const priorDelivered = this.totalDelivered;
    sample.nowUs = nowUs;
    sample.priorBytesInFlight = this.inFlight;
    sample.hasRttSample = false;
    sample.hasRateSample = false;
    this.newestAcked = -1;
    this.spuriousPackets = 0;
    this.spuriousBytes = 0;
    this.ackedMarked = 0;

    // The fate of each packet is told once; a range that the last ACK had already is skipped.
    const { acked } = this;
    acked.handleAck(ranges, rangeCount, packets.lowest);
    for (let run = 0; run < acked.openCount; run++) {
      this.handleAckedRun(acked.openLows[run], acked.openHighs[run], nowUs, priorLargestAcked, handler);
    }
    if (largest > priorLargestAcked) this.largestAckedNumber = largest;
    const cePackets = this.ecn.handleAck(this.ackedMarked, largest > priorLargestAcked, ecnCounts);
    this.cePackets += cePackets;
    this.statistics.packetsCe += cePackets;
    const newest = this.newestAcked;
    if (newest >= 0) {
      this.probeTimeoutCount = 0;
      this.deliveredAtUs = nowUs;
      const row = newest & packets.mask;
      sample.largestAckedSentAtUs = packets.sentAtUs[row];
      if (newest === largest) {
        const delayUs = Math.min(ackDelayUs, this.maxAckDelayUs);
        rtt.handleSample(Math.max(nowUs - packets.sentAtUs[row], 1), delayUs, nowUs);
        sample.hasRttSample = true;
        sample.latestRttUs = rtt.adjustedUs;
      }
      this.takeRateSample(row, nowUs);
    }
    if (this.totalDelivered === priorDelivered && this.spuriousPackets === 0) return;
    if (this.appLimitedUntil !== 0 && this.totalDelivered > this.appLimitedUntil) this.appLimitedUntil = 0;

    if (this.spuriousPackets > 0) {
      this.controller.handleSpuriousLoss(
        nowUs,
        this.spuriousNumber,
        this.spuriousBytes,
        this.spuriousSentAtUs,
      );
    }
    const lostBefore = this.totalLost;
    this.detectLost(nowUs, handler);
    sample.ackedBytes = this.totalDelivered - priorDelivered;
    sample.lostBytes = this.totalLost - lostBefore;
    sample.bytesInFlight = this.inFlight;
    sample.smoothedRttUs = rtt.smoothedUs;
    sample.rttVariationUs = rtt.variationUs;
    sample.minRttUs = rtt.minUs;
    sample.totalDeliveredBytes = this.totalDelivered;
    sample.totalLostBytes = this.totalLost;
    sample.largestAcked = this.largestAckedNumber;
    sample.nextPacketNumber = packets.next;
    sample.ecnCePackets = this.cePackets;
    this.cePackets = 0;
    if (sample.hasRateSample)
      sample.rateLostBytes = this.totalLost - packets.lostBytes[newest & packets.mask];
    this.controller.handleAck(sample);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);

    if (this.largestAckedNumber >= this.roundEnd) {
      this.roundEnd = packets.next;
      this.tolerance.handleRound();
      this.ecn.handleRound();
    }
    this.retire(nowUs);
    this.report(nowUs);
    assert(this.totalLost >= 0 && this.inFlight >= 0, "bytes in flight and lost are counted once");
  }

  /** Newest packet that the ACK in process acknowledged first, or -1. */
  private newestAcked = -1;
  private ackedMarked = 0;
  private spuriousPackets = 0;
  private spuriousBytes = 0;
  private spuriousNumber = 0;
  private spuriousSentAtUs = 0;

  /** Processes packets `low`..`high`, of which the previous ACK said nothing. */
  private handleAckedRun(
    low: number,
    high: number,
    nowUs: number,
    priorLargestAcked: number,
    handler: RecoveryHandler,
  ): void {
    const { packets, statistics } = this;
    const { flags, sizes, sentAtUs, mask } = packets;
    const stop = Math.max(low, packets.lowest);
    for (let number = high; number >= stop; number--) {
      const row = number & mask;
      const flag = flags[row];
      if ((flag & ACKED) !== 0) continue;
      if ((flag & SKIPPED) !== 0) {
        throw new GodwitError(
          "PROTOCOL_VIOLATION",
          `peer acknowledged packet ${number}, which was left out on purpose`,
        );
      }
      flags[row] = flag | ACKED;
      if ((flag & MARKED) !== 0) this.ackedMarked++;
      const size = sizes[row];
      statistics.packetsAcked++;
      statistics.bytesAcked += size;
      if ((flag & SILENT) !== 0) {
        handler.handlePacketAcked(number, size, sentAtUs[row]);
        continue;
      }
      this.totalDelivered += size;
      const wasLost = (flag & LOST) !== 0;
      if (number < priorLargestAcked) this.handleReordered(number, row, nowUs, priorLargestAcked, wasLost);
      if (wasLost) {
        this.handleSpurious(number, row, size, handler);
        continue;
      }
      flags[row] = (flag & ~OUTSTANDING) | ACKED;
      this.inFlight -= size;
      if (number > this.newestAcked) this.newestAcked = number;
      handler.handlePacketAcked(number, size, sentAtUs[row]);
    }
  }

  private handleReordered(
    number: number,
    row: number,
    nowUs: number,
    priorLargestAcked: number,
    wasLost: boolean,
  ): void {
    const distance = priorLargestAcked - number;
    this.statistics.packetsReordered++;
    if (distance > this.statistics.largestReordering) this.statistics.largestReordering = distance;
    const rttUs = Math.max(this.rtt.smoothedUs, this.rtt.latestUs);
    this.tolerance.handleLate(distance, nowUs - this.packets.sentAtUs[row] - rttUs, rttUs, wasLost);
  }

  private handleSpurious(number: number, row: number, size: number, handler: RecoveryHandler): void {
    const { packets, statistics } = this;
    statistics.packetsSpurious++;
    statistics.bytesSpurious += size;
    if ((packets.flags[row] & MTU_PROBE) === 0) {
      this.totalLost -= size;
      if (this.spuriousPackets === 0 || number < this.spuriousNumber) {
        this.spuriousNumber = number;
        this.spuriousSentAtUs = packets.sentAtUs[row];
      }
      this.spuriousPackets++;
      this.spuriousBytes += size;
    }
    if (this.events?.wantsPackets === true) {
      this.events.add({ type: "loss-was-spurious", number, sizeBytes: size });
    }
    handler.handleSpuriousLoss(number);
  }

  /** Fills the delivery-rate sample from the newest acknowledged packet. */
  private takeRateSample(row: number, nowUs: number): void {
    const { packets, ackSample: sample } = this;
    const sentAtUs = packets.sentAtUs[row];
    const sendIntervalUs = sentAtUs - packets.firstSentAtUs[row];
    const ackIntervalUs = nowUs - packets.deliveredAtUs[row];
    this.firstSentAtUs = sentAtUs;
    // The longer interval: compressed ACKs must not look like bandwidth.
    const intervalUs = Math.max(sendIntervalUs, ackIntervalUs);
    sample.hasRateSample = intervalUs >= this.rtt.minUs && intervalUs > 0;
    sample.rateIntervalUs = intervalUs;
    sample.ratePriorDeliveredBytes = packets.deliveredBytes[row];
    sample.rateDeliveredBytes = this.totalDelivered - packets.deliveredBytes[row];
    sample.rateBytesInFlightAtSend = packets.bytesInFlight[row];
    sample.rateIsAppLimited = (packets.flags[row] & APP_LIMITED) !== 0;
  }

  /** Declares packets lost by number and by age, and sets the time to look again. RFC 9002 §6.1. */
  private detectLost(nowUs: number, handler: RecoveryHandler): void {
    const { packets, rtt, lossSample: sample, statistics } = this;
    const { flags, sentAtUs, sizes, mask } = packets;
    const rttUs = Math.max(rtt.smoothedUs, rtt.latestUs);
    const delayUs = Math.max(rttUs + this.tolerance.windowUs(rttUs), GRANULARITY_US);
    const lostByNumber = this.largestAckedNumber - this.tolerance.packetThreshold;
    const wantsPackets = this.events?.wantsPackets === true;
    sample.lostPackets = 0;
    sample.lostBytes = 0;
    this.lossTimeUs = undefined;
    // Send times ascend with numbers: the first packet that is not lost ends the search.
    for (; this.lowestOutstanding < packets.next; this.lowestOutstanding++) {
      const number = this.lowestOutstanding;
      const row = number & mask;
      const flag = flags[row];
      if ((flag & OUTSTANDING) === 0) {
        if ((flag & ACKED) !== 0 && (flag & SILENT) === 0) this.lossRunStartUs = undefined;
        continue;
      }
      if (number >= this.largestAckedNumber) break;
      // The same sum as in the timer, so that rounding cannot make the timer early for ever.
      if (number > lostByNumber && sentAtUs[row] + delayUs > nowUs) {
        this.lossTimeUs = sentAtUs[row] + delayUs;
        break;
      }
      const size = sizes[row];
      const isMtuProbe = (flag & MTU_PROBE) !== 0;
      flags[row] = (flag & ~OUTSTANDING) | LOST;
      this.inFlight -= size;
      if ((flag & MARKED) !== 0) this.ecn.handleLost();
      statistics.packetsLost++;
      statistics.bytesLost += size;
      if (!isMtuProbe) {
        this.totalLost += size;
        this.extendLossRun(sentAtUs[row]);
        if (sample.lostPackets === 0) sample.earliestLostSentAtUs = sentAtUs[row];
        sample.lostPackets++;
        sample.lostBytes += size;
        sample.largestLost = number;
        sample.largestLostSentAtUs = sentAtUs[row];
        sample.bytesInFlightAtSend = packets.bytesInFlight[row];
        sample.deliveredBytesAtSend = packets.deliveredBytes[row];
      }
      if (wantsPackets) {
        const trigger = number <= lostByNumber ? "packets" : "time";
        this.events?.add({ type: "packet-lost", number, sizeBytes: size, trigger });
      }
      handler.handlePacketLost(number, size, isMtuProbe);
    }
    if (sample.lostPackets === 0) return;
    sample.nowUs = nowUs;
    sample.bytesInFlight = this.inFlight;
    sample.nextPacketNumber = packets.next;
    sample.smoothedRttUs = rtt.smoothedUs;
    sample.minRttUs = rtt.minUs;
    sample.isPersistentCongestion = this.isPersistent;
    if (this.isPersistent) {
      this.isPersistent = false;
      this.lossRunStartUs = undefined;
      statistics.persistentCongestions++;
      this.events?.add({ type: "persistent-congestion" });
    }
    this.controller.handleLoss(sample);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
    if (sample.isPersistentCongestion) rtt.restartMinimum();
  }

  /** Notes a lost packet in the run that may become persistent congestion. RFC 9002 §7.6. */
  private extendLossRun(sentAtUs: number): void {
    const firstSampleAtUs = this.rtt.firstSampleAtUs;
    if (firstSampleAtUs === undefined || sentAtUs < firstSampleAtUs) return;
    if (this.lossRunStartUs === undefined) this.lossRunStartUs = sentAtUs;
    else if (sentAtUs - this.lossRunStartUs > PERSISTENT_CONGESTION_THRESHOLD * this.probeTimeoutUs) {
      this.isPersistent = true;
    }
  }

  /** When `handleTimeout` must be called, or `undefined` when nothing is waited for. */
  nextTimeoutUs(): number | undefined {
    if (this.forgotten.length > 0) return 0;
    if (this.lossTimeUs !== undefined) return this.lossTimeUs;
    if (this.inFlight === 0) return undefined;
    return this.probeBaseUs + this.probeIntervalUs();
  }

  /** Time from the latest ack-eliciting packet to the next probe. RFC 9002 §6.2.1, RFC 8985 §7.2. */
  private probeIntervalUs(): number {
    // A round trip measured across a sleep of the peer says nothing about the path: no longer than the
    // usual longest pause, unless even the least round trip is longer.
    const leastUs = 2 * this.rtt.minUs + this.maxAckDelayUs;
    const baseUs = Math.min(
      this.probeTimeoutUs,
      PROBE_BASE_MAX_US,
      this.rtt.hasSample ? Math.max(this.maxProbeIntervalUs, leastUs) : Infinity,
    );
    const count = this.probeTimeoutCount;
    if (count === 0) {
      // RFC 8985 §7.2: a tail probe after two round trips, where the variation would wait longer.
      return Math.min(baseUs, 2 * this.rtt.smoothedUs + this.maxAckDelayUs);
    }
    return Math.min(baseUs * 2 ** Math.min(count, 20), Math.max(baseUs, this.maxProbeIntervalUs));
  }

  /** The time of `nextTimeoutUs` came: declares packets lost, or asks for probes. */
  handleTimeout(nowUs: number, handler: RecoveryHandler): void {
    this.reportForgotten(handler);
    const dueUs = this.nextTimeoutUs();
    if (dueUs === undefined || nowUs < dueUs) return;
    if (this.lossTimeUs !== undefined) {
      this.detectLost(nowUs, handler);
      this.retire(nowUs);
      this.report(nowUs);
      return;
    }
    this.probeTimeoutCount++;
    this.statistics.probeTimeouts++;
    this.probesWanted = PROBES_PER_TIMEOUT;
    this.probeBaseUs = nowUs;
    this.ecn.handleProbeTimeout(this.probeTimeoutCount);
    this.events?.add({ type: "pto-fired", count: this.probeTimeoutCount });
  }

  /**
   * Ack-eliciting packets to send at once whatever the window and the pacer say, and forgets them.
   * Full-sized ones may be what the path swallows: see `MtuDiscovery.probeTimeoutBytes`.
   */
  takeProbeCount(): number {
    const count = this.probesWanted;
    this.probesWanted = 0;
    return count;
  }

  /** There is nothing to send although the window has room. */
  handleAppLimited(nowUs: number): void {
    this.appLimitedUntil = Math.max(this.totalDelivered + this.inFlight, 1);
    this.controller.handleAppLimited(nowUs, this.inFlight);
  }

  /** The size of full datagrams changed. */
  setDatagramBytes(bytes: number): void {
    this.pacer.setDatagramBytes(bytes);
    this.controller.handleDatagramSize(bytes);
  }

  /** The peer's promise about delayed acknowledgements became known. */
  setMaxAckDelayUs(maxAckDelayUs: number): void {
    this.maxAckDelayUs = maxAckDelayUs;
  }

  /** Takes a round-trip time measured elsewhere, such as by the handshake, as the first sample. */
  handleInitialRtt(rttUs: number, nowUs: number): void {
    if (!this.rtt.hasSample) this.rtt.handleSample(Math.max(rttUs, 1), 0, nowUs);
  }

  /** The connection moved: estimates of the old path are forgotten, packets in flight are not. RFC 9000 §9.4. */
  handlePathChange(nowUs: number): void {
    this.rtt.reset();
    this.tolerance.reset();
    this.ecn.handlePathChange();
    const { packets } = this;
    // What the old path does to marks says nothing about the new one.
    for (let number = packets.lowest; number < packets.next; number++)
      packets.flags[number & packets.mask] &= ~MARKED;
    this.probeTimeoutCount = 0;
    this.probeBaseUs = nowUs;
    this.lossRunStartUs = undefined;
    this.controller.handlePathChange(nowUs);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
  }

  /** Drops rows that nobody asks for any more. */
  private retire(nowUs: number): void {
    const { packets } = this;
    const { flags, sentAtUs, mask } = packets;
    const rttUs = Math.max(this.rtt.smoothedUs, this.rtt.latestUs);
    const keepLostSinceUs = nowUs - Math.max(LOST_ROW_ROUNDS * rttUs, LOST_ROW_MIN_US) - rttUs;
    let lowest = packets.lowest;
    const end = Math.min(
      this.lowestOutstanding,
      Math.max(this.largestAckedNumber + 1, packets.next - SILENT_ROWS),
    );
    while (lowest < end) {
      const row = lowest & mask;
      if ((flags[row] & (LOST | ACKED)) === LOST && sentAtUs[row] > keepLostSinceUs) break;
      lowest++;
    }
    packets.retireBelow(lowest);
  }

  /** Before the table grows: drops what can be dropped, and at its bound the oldest packet, come what may. */
  private makeRoom(nowUs: number): void {
    const { packets } = this;
    while (this.lowestOutstanding < packets.next) {
      const flag = packets.flags[this.lowestOutstanding & packets.mask];
      if ((flag & OUTSTANDING) !== 0) break;
      if ((flag & ACKED) !== 0 && (flag & SILENT) === 0) this.lossRunStartUs = undefined;
      this.lowestOutstanding++;
    }
    this.retire(nowUs);
    if (packets.isFull) this.forgetLowest();
  }

  /** Forgets the oldest packet of a full table; it counts as lost, and the handler hears of it next time. */
  private forgetLowest(): void {
    const { packets } = this;
    const number = packets.lowest;
    const row = number & packets.mask;
    const flag = packets.flags[row];
    if ((flag & OUTSTANDING) !== 0) {
      this.inFlight -= packets.sizes[row];
      this.forgotten.push(number, packets.sizes[row], flag & MTU_PROBE);
    }
    packets.retireBelow(number + 1);
    this.lowestOutstanding = Math.max(this.lowestOutstanding, packets.lowest);
  }

  /** Triples of number, size and probe flag of packets that fell out of a full table. */
  private readonly forgotten: number[] = [];

  private reportForgotten(handler: RecoveryHandler): void {
    const { forgotten } = this;
    if (forgotten.length === 0) return;
    for (let index = 0; index < forgotten.length; index += 3) {
      handler.handlePacketLost(forgotten[index], forgotten[index + 1], forgotten[index + 2] !== 0);
    }
    forgotten.length = 0;
  }

  private report(nowUs: number): void {
    const { events, controller, rtt } = this;
    if (events === undefined) return;
    if (controller.state !== this.reportedState) {
      const from = this.reportedState;
      this.reportedState = controller.state;
      events.add({
        type: "congestion-state-changed",
        controller: controller.name,
        from,
        to: controller.state,
      });
    }
    if (this.ecn.state !== this.reportedEcnState) {
      events.add({ type: "ecn-state-changed", from: this.reportedEcnState, to: this.ecn.state });
      this.reportedEcnState = this.ecn.state;
    }
    if (nowUs < this.updateEventDueUs) return;
    this.updateEventDueUs = nowUs + Math.max(UPDATE_INTERVAL_US, rtt.smoothedUs);
    events.add({
      type: "recovery-updated",
      smoothedRttUs: rtt.smoothedUs,
      minRttUs: rtt.minUs,
      latestRttUs: rtt.latestUs,
      rttVariationUs: rtt.variationUs,
      congestionWindowBytes: controller.congestionWindowBytes,
      bytesInFlight: this.inFlight,
      pacingRateBytesPerSecond: controller.pacingRateBytesPerSecond,
      bandwidthBytesPerSecond: controller.bandwidthBytesPerSecond,
    });
  }
}
