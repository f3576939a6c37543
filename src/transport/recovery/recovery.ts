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
import { DeliveryRate } from "./delivery-rate.ts";
import { EcnValidation, type EcnState } from "./ecn.ts";
import { Flight } from "./flight.ts";
import { LossDetection } from "./loss-detection.ts";
import { NewlyAcked } from "./newly-acked.ts";
import { PersistentCongestion } from "./persistent-congestion.ts";
import { ProbeTimer } from "./probe-timer.ts";
import { RecoveryEvents } from "./recovery-events.ts";
import type { RecoveryHandler } from "./recovery-handler.ts";
import { ReorderingTolerance } from "./reordering.ts";
import { RttEstimator } from "./rtt.ts";
import { emptyAckSample } from "./samples.ts";
import { MARKED, MTU_PROBE, OUTSTANDING, SILENT } from "./sent-packets.ts";
import { emptyStatistics, type RecoveryStatistics } from "./statistics.ts";

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

/** Recovery, congestion control and pacing of one path in one packet number space. */
export class Recovery {
  readonly rtt = new RttEstimator();
  readonly statistics: RecoveryStatistics = emptyStatistics();
  private readonly controller: CongestionController;
  private readonly pacer: Pacer;
  private readonly rateCap: Pacer | undefined;
  private readonly persistence = new PersistentCongestion();
  private readonly flight = new Flight(this.rtt, this.persistence);
  private readonly tolerance = new ReorderingTolerance();
  private readonly delivery = new DeliveryRate();
  private readonly ecn = new EcnValidation();
  private readonly probe: ProbeTimer;
  private readonly newlyAcked: NewlyAcked;
  private readonly losses: LossDetection;
  private readonly events: EventQueue | undefined;
  private readonly report: RecoveryEvents | undefined;
  private readonly ackSample = emptyAckSample();
  private cePackets = 0;
  /** A round trip ends when a packet sent after its start is acknowledged. */
  private roundEnd = 0;

  constructor(options: RecoveryOptions) {
    const { controllerFactory, datagramBytes, nowUs, randomFloat, events } = options;
    const { rtt, flight, tolerance, delivery, persistence, ecn, statistics } = this;
    this.events = events;
    this.rateCap = options.rateCap;
    this.controller = controllerFactory({ datagramBytes, nowUs, randomFloat });
    this.pacer = new Pacer(datagramBytes);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
    const probe = new ProbeTimer(rtt, options.maxAckDelayUs, options.maxProbeIntervalUs);
    const parts = { flight, rtt, tolerance, delivery, persistence, probe, ecn, statistics, events };
    this.probe = probe;
    this.newlyAcked = new NewlyAcked(parts);
    this.losses = new LossDetection(parts);
    if (events !== undefined) this.report = new RecoveryEvents(events, this.controller.state, ecn.state);
  }

  /** Bytes of ack-eliciting packets sent and neither acknowledged nor declared lost. */
  get bytesInFlight(): number {
    return this.flight.bytesInFlight;
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
    return this.flight.largestAcked;
  }
  /** Probe timeouts since the last acknowledgement. */
  get consecutiveProbeTimeouts(): number {
    return this.probe.consecutiveTimeouts;
  }

  /** Probe timeout without backoff, in microseconds. RFC 9002 §6.2.1. */
  get probeTimeoutUs(): number {
    return this.probe.timeoutUs;
  }

  /** When an outstanding packet was sent, in microseconds. */
  sentAtUs(packetNumber: number): number {
    const { packets } = this.flight;
    return packets.sentAtUs[packetNumber & packets.mask];
  }

  /** Whether the window has room for an ack-eliciting packet of this size. */
  canSend(sizeBytes: number): boolean {
    // A quarter of the table is left for probes and for packets that only acknowledge.
    const { flight, controller } = this;
    const { packets } = flight;
    return (
      flight.bytesInFlight + sizeBytes <= controller.congestionWindowBytes &&
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
    const { flight, delivery } = this;
    const { packets } = flight;
    const row = flight.append(packetNumber, nowUs);
    if (flight.bytesInFlight === 0) delivery.startFlight(nowUs);
    this.statistics.packetsSent++;
    this.statistics.bytesSent += sizeBytes;
    this.rateCap?.handleSent(sizeBytes, nowUs);
    packets.sizes[row] = sizeBytes;
    packets.sentAtUs[row] = nowUs;
    if (!isAckEliciting) {
      packets.flags[row] = SILENT;
      return;
    }
    packets.flags[row] =
      OUTSTANDING |
      (isMtuProbe ? MTU_PROBE : 0) |
      (isMarked ? MARKED : 0) |
      delivery.handleSent(packets, row, flight.bytesInFlight, sizeBytes);
    flight.bytesInFlight += sizeBytes;
    if (isMarked) this.ecn.handleSent();
    this.probe.handleSent(nowUs);
    this.pacer.handleSent(sizeBytes, nowUs);
    this.controller.handleSent(nowUs, packetNumber, sizeBytes, flight.bytesInFlight);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
  }

  /** A packet number was left out on purpose: a peer that acknowledges it lies. RFC 9000 §21.4. */
  handleSkipped(packetNumber: number): void {
    this.flight.appendSkipped(packetNumber);
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
    const { flight, rtt, delivery, newlyAcked, controller, ackSample: sample } = this;
    const { packets } = flight;
    assert(rangeCount > 0 && ranges[1] === largest, "the first range ends with the largest number");
    flight.reportForgotten(handler);
    if (largest >= packets.next) {
      throw new GodwitError(
        "PROTOCOL_VIOLATION",
        `peer acknowledged packet ${largest}, which was never sent`,
      );
    }
    const isLargest = largest > flight.largestAcked;
    const priorDelivered = delivery.deliveredBytes;
    sample.nowUs = nowUs;
    sample.priorBytesInFlight = flight.bytesInFlight;
    sample.hasRttSample = false;
    sample.hasRateSample = false;
    newlyAcked.handleAck(ranges, rangeCount, nowUs, handler);
    if (isLargest) flight.largestAcked = largest;
    const cePackets = this.ecn.handleAck(newlyAcked.markedPackets, isLargest, ecnCounts);
    this.cePackets += cePackets;
    this.statistics.packetsCe += cePackets;
    const { newest } = newlyAcked;
    if (newest >= 0) {
      this.probe.handleAcked();
      const row = newest & packets.mask;
      sample.largestAckedSentAtUs = packets.sentAtUs[row];
      if (newest === largest) {
        const delayUs = Math.min(ackDelayUs, this.probe.maxAckDelayUs);
        rtt.handleSample(Math.max(nowUs - packets.sentAtUs[row], 1), delayUs, nowUs);
        sample.hasRttSample = true;
        sample.latestRttUs = rtt.adjustedUs;
      }
      delivery.fillSample(sample, packets, row, rtt.minUs, nowUs);
    }
    if (delivery.deliveredBytes === priorDelivered && newlyAcked.spuriousPackets === 0) return;
    delivery.handleDelivered();
    if (newlyAcked.spuriousPackets > 0) {
      controller.handleSpuriousLoss(
        nowUs,
        newlyAcked.spuriousNumber,
        newlyAcked.spuriousBytes,
        newlyAcked.spuriousSentAtUs,
      );
    }
    const lostBefore = delivery.lostBytes;
    this.detectLost(nowUs, handler);
    sample.ackedBytes = delivery.deliveredBytes - priorDelivered;
    sample.lostBytes = delivery.lostBytes - lostBefore;
    sample.bytesInFlight = flight.bytesInFlight;
    sample.smoothedRttUs = rtt.smoothedUs;
    sample.rttVariationUs = rtt.variationUs;
    sample.minRttUs = rtt.minUs;
    sample.totalDeliveredBytes = delivery.deliveredBytes;
    sample.totalLostBytes = delivery.lostBytes;
    sample.largestAcked = flight.largestAcked;
    sample.nextPacketNumber = packets.next;
    sample.ecnCePackets = this.cePackets;
    this.cePackets = 0;
    if (sample.hasRateSample)
      sample.rateLostBytes = delivery.lostBytes - packets.lostBytes[newest & packets.mask];
    controller.handleAck(sample);
    this.pacer.setRate(controller.pacingRateBytesPerSecond, nowUs);

    if (flight.largestAcked >= this.roundEnd) {
      this.roundEnd = packets.next;
      this.tolerance.handleRound();
      this.ecn.handleRound();
    }
    this.finishStep(nowUs);
    assert(delivery.lostBytes >= 0 && flight.bytesInFlight >= 0, "bytes in flight and lost are counted once");
  }

  private detectLost(nowUs: number, handler: RecoveryHandler): void {
    if (!this.losses.detect(nowUs, handler)) return;
    const { sample } = this.losses;
    this.controller.handleLoss(sample);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
    if (sample.isPersistentCongestion) this.rtt.restartMinimum();
  }

  private finishStep(nowUs: number): void {
    this.flight.retire(nowUs);
    this.report?.report(this.controller, this.rtt, this.ecn.state, this.flight.bytesInFlight, nowUs);
  }

  /** When `handleTimeout` must be called, or `undefined` when nothing is waited for. */
  nextTimeoutUs(): number | undefined {
    const { flight, losses } = this;
    if (flight.hasForgotten) return 0;
    if (losses.timeUs !== undefined) return losses.timeUs;
    return flight.bytesInFlight === 0 ? undefined : this.probe.dueTimeUs;
  }

  /** The time of `nextTimeoutUs` came: declares packets lost, or asks for probes. */
  handleTimeout(nowUs: number, handler: RecoveryHandler): void {
    this.flight.reportForgotten(handler);
    const dueUs = this.nextTimeoutUs();
    if (dueUs === undefined || nowUs < dueUs) return;
    if (this.losses.timeUs !== undefined) {
      this.detectLost(nowUs, handler);
      this.finishStep(nowUs);
      return;
    }
    this.probe.handleTimeout(nowUs);
    const count = this.probe.consecutiveTimeouts;
    this.statistics.probeTimeouts++;
    this.ecn.handleProbeTimeout(count);
    this.events?.add({ type: "pto-fired", count });
  }

  /**
   * Ack-eliciting packets to send at once whatever the window and the pacer say, and forgets them.
   * Full-sized ones may be what the path swallows: see `MtuDiscovery.probeTimeoutBytes`.
   */
  takeProbeCount(): number {
    return this.probe.takeProbeCount();
  }

  /** There is nothing to send although the window has room. */
  handleAppLimited(nowUs: number): void {
    const { bytesInFlight } = this.flight;
    this.delivery.handleAppLimited(bytesInFlight);
    this.controller.handleAppLimited(nowUs, bytesInFlight);
  }

  /** The size of full datagrams changed. */
  setDatagramBytes(bytes: number): void {
    this.pacer.setDatagramBytes(bytes);
    this.controller.handleDatagramSize(bytes);
  }

  /** The peer's promise about delayed acknowledgements became known. */
  setMaxAckDelayUs(maxAckDelayUs: number): void {
    this.probe.maxAckDelayUs = maxAckDelayUs;
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
    const { packets } = this.flight;
    // What the old path does to marks says nothing about the new one.
    for (let number = packets.lowest; number < packets.next; number++)
      packets.flags[number & packets.mask] &= ~MARKED;
    this.probe.handlePathChange(nowUs);
    this.persistence.endRun();
    this.controller.handlePathChange(nowUs);
    this.pacer.setRate(this.controller.pacingRateBytesPerSecond, nowUs);
  }
}
