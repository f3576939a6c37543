/**
 * What acknowledgements show of a path, round by round: bandwidth, least round trip, queue, jitter,
 * loss, and how long packets stay in flight. Pure; decides nothing.
 *
 * Source: draft-ietf-ccwg-bbr §4 for the filters of bandwidth, round trip and aggregation.
 */
import type { AckSample } from "./controller.ts";

/** A round trip this close to the least one says that it still holds: 5 % and half a timer tick. */
const NEAR_MINIMUM = 1.05;
const NEAR_MINIMUM_US = 500;

/** Queueing delay that passes for none: a share of the least round trip, and a timer's resolution at least. */
const QUIET_QUEUE = 0.03;
const QUIET_QUEUE_US = 750;

/** Queueing delay that is nobody's accident: a share of the least round trip, a few ticks, a few datagrams. */
const STANDING_QUEUE = 0.3;
const STANDING_QUEUE_US = 3_000;
const STANDING_DATAGRAMS = 4;

/** What round trips vary by in all, in times of the jitter measured: the least ones of rounds vary, too. */
const JITTER_SPREAD = 3;
/** Variation that passing packets of others make by themselves, in datagrams. */
const JITTER_DATAGRAMS = 8;

/** Rounds that lumps of acknowledgements are remembered for. BBR §4.5.3 (BBRExtraAckedFilterLen). */
const EXTRA_ACKED_ROUNDS = 10;

/** Rounds that packets may stay in flight on average: more than that is a path that stood still. */
const DWELL_ROUNDS_MAX = 8;

/** The fading of the largest queue seen, per round: half of it is forgotten in 70 rounds. */
const MAX_QUEUE_FADING = 0.99;

/** Measures one path. */
export class PathMeter {
  /** Size of a full datagram, to count packets in. */
  datagramBytes: number;

  /** Whether the ACK just handled began a round: a packet sent in the one before was acknowledged. */
  isRoundStart = false;
  roundCount = 0;
  /** Of the round just ended: share of packets lost, packets in all, bytes per second delivered, its start. */
  lossRate = 0;
  packets = 0;
  deliveryRate = 0;
  isAppLimited = false;
  startedAtUs = 0;
  /** Least queueing delay of the round just ended: the queue that stood all the time. */
  queueUs = 0;
  /** Largest such queue, fading. */
  maxQueueUs = 0;
  /** Smoothed round trip above the round's least one, smoothed. */
  jitterUs = 0;
  private hasJitter = false;
  /** The same in rounds after ours was drained, smoothed: the luck of the least round trip, or somebody's queue. */
  private drainedQueueUs = 0;
  /** How long packets count in flight on average: late and lost ones do for longer than a round trip. */
  dwellUs = 0;
  /** Least round trip, and when it was last seen to hold. `Infinity` before the first sample. */
  minRttUs = Infinity;
  minRttAtUs: number;

  private roundEnd = 0;
  private roundStartUs = 0;
  private roundDelivered = 0;
  private roundLost = 0;
  private roundMinRttUs = Infinity;
  private roundIsAppLimited = false;
  private inFlightSum = 0;
  private inFlightCount = 0;

  // The largest delivery rates of this cycle and of the one before, in bytes per second.
  private bandwidthNow = 0;
  private bandwidthBefore = 0;
  private hasSampleThisCycle = false;

  private extraStartUs = 0;
  private extraDelivered = 0;
  private extraAckedNow = 0;
  private extraAckedBefore = 0;
  private extraRound = 0;

  constructor(datagramBytes: number, nowUs: number) {
    this.datagramBytes = datagramBytes;
    this.minRttAtUs = nowUs;
  }

  /** Largest delivery rate of two cycles, in bytes per second; 0 when unknown. */
  get bandwidth(): number {
    return Math.max(this.bandwidthNow, this.bandwidthBefore);
  }

  /** Bytes that were acknowledged in one lump beyond what the bandwidth explains. */
  get extraAckedBytes(): number {
    return Math.max(this.extraAckedNow, this.extraAckedBefore);
  }

  /** Time a full datagram takes on the bottleneck, in microseconds. */
  get datagramUs(): number {
    const { bandwidth } = this;
    return bandwidth === 0 ? 0 : (this.datagramBytes * 1e6) / bandwidth;
  }

  /** Most queueing delay that noise makes of an empty queue, in microseconds. */
  get quietQueueUs(): number {
    // A small packet may have measured the least round trip, and full ones take longer on a slow link.
    return Math.max(QUIET_QUEUE * this.minRttUs, QUIET_QUEUE_US) + this.datagramUs + this.jitterUs / 2;
  }

  /** Whether the queue ran empty in the round just ended. */
  get isQuiet(): boolean {
    return this.queueUs <= this.quietQueueUs;
  }

  /** Queueing delay above which a queue stands, in microseconds. */
  get standingQueueUs(): number {
    return Math.max(STANDING_QUEUE * this.minRttUs, STANDING_QUEUE_US, STANDING_DATAGRAMS * this.datagramUs);
  }

  /** The packets of the round just ended left after our queue had drained. */
  handleDrainedRound(): void {
    this.drainedQueueUs += (this.queueUs - this.drainedQueueUs) / 4;
  }

  /** What round trips vary by without a queue, as far as jitter was measured. */
  get spreadUs(): number {
    return JITTER_SPREAD * this.jitterUs;
  }

  /** The same, beyond what single packets of others make of them. */
  get noiseUs(): number {
    return Math.max(0, this.spreadUs - JITTER_DATAGRAMS * this.datagramUs);
  }

  /**
   * How much longer than the least one round trips are without a queue: where they vary, the least one of
   * ten seconds is one packet's luck. No more than the variation explains.
   */
  get luckUs(): number {
    return Math.min(this.drainedQueueUs, this.noiseUs);
  }

  /** Packets lost in the round that is under way. */
  lostSoFar(sample: AckSample): number {
    return (sample.totalLostBytes - this.roundLost) / this.datagramBytes;
  }

  /** Packets delivered in the round that is under way. */
  deliveredSoFar(sample: AckSample): number {
    return (sample.totalDeliveredBytes - this.roundDelivered) / this.datagramBytes;
  }

  /** Takes an acknowledgement. */
  handleAck(sample: AckSample, windowBytes: number): void {
    if (sample.hasRttSample) this.updateRtt(sample);
    this.updateRound(sample);
    if (sample.hasRateSample) this.updateBandwidth(sample);
    this.updateExtraAcked(sample, windowBytes);
  }

  private updateRtt(sample: AckSample): void {
    const rttUs = sample.latestRttUs;
    if (this.minRttUs === Infinity) this.minRttUs = Math.min(rttUs, sample.minRttUs);
    if (rttUs <= this.minRttUs * NEAR_MINIMUM + NEAR_MINIMUM_US) this.minRttAtUs = sample.nowUs;
    if (rttUs < this.minRttUs) {
      // Rounds after ours was drained were longer than this one by as much more.
      this.drainedQueueUs += this.minRttUs - rttUs;
      this.minRttUs = rttUs;
    }
    if (rttUs < this.roundMinRttUs) this.roundMinRttUs = rttUs;
  }

  private updateRound(sample: AckSample): void {
    this.inFlightSum += sample.priorBytesInFlight;
    this.inFlightCount++;
    this.roundIsAppLimited ||= sample.rateIsAppLimited;
    this.isRoundStart = sample.largestAcked >= this.roundEnd;
    if (!this.isRoundStart) return;
    this.roundEnd = sample.nextPacketNumber;
    this.roundCount++;
    const delivered = sample.totalDeliveredBytes - this.roundDelivered;
    const lost = Math.max(0, sample.totalLostBytes - this.roundLost);
    const durationUs = sample.nowUs - this.roundStartUs;
    this.packets = (delivered + lost) / this.datagramBytes;
    this.lossRate = delivered + lost > 0 ? lost / (delivered + lost) : 0;
    this.deliveryRate = durationUs > 0 ? (delivered * 1e6) / durationUs : 0;
    this.isAppLimited = this.roundIsAppLimited;
    if (this.roundMinRttUs !== Infinity) {
      this.queueUs = Math.max(0, this.roundMinRttUs - this.minRttUs);
      this.maxQueueUs = Math.max(this.queueUs, this.maxQueueUs * MAX_QUEUE_FADING);
      const jitterUs = Math.max(0, sample.smoothedRttUs - this.roundMinRttUs);
      // The first rounds have to tell jitter from the queue that startup makes: no warming up from nothing.
      this.jitterUs = this.hasJitter ? this.jitterUs + (jitterUs - this.jitterUs) / 8 : jitterUs;
      this.hasJitter = true;
    }
    const inFlight = this.inFlightSum / this.inFlightCount;
    // Where data ran out, or most was lost, or hardly anything moved, the round's length says nothing of it.
    if (!this.roundIsAppLimited && delivered > lost && DWELL_ROUNDS_MAX * (delivered + lost) > inFlight) {
      // Little's law: what is in flight on average, by the rate at which it leaves.
      const dwellUs = (inFlight * durationUs) / (delivered + lost);
      this.dwellUs += (dwellUs - this.dwellUs) / 4;
    }
    this.inFlightSum = 0;
    this.inFlightCount = 0;
    this.roundIsAppLimited = false;
    this.roundMinRttUs = Infinity;
    this.startedAtUs = this.roundStartUs;
    this.roundStartUs = sample.nowUs;
    this.roundDelivered = sample.totalDeliveredBytes;
    this.roundLost = sample.totalLostBytes;
  }

  private updateBandwidth(sample: AckSample): void {
    const rate = (sample.rateDeliveredBytes * 1e6) / sample.rateIntervalUs;
    if (!sample.rateIsAppLimited) this.hasSampleThisCycle = true;
    // BBR §4.1.2.3: what an idle application leaves unused says nothing about the path.
    if (rate >= this.bandwidthNow && (!sample.rateIsAppLimited || rate >= this.bandwidth)) {
      this.bandwidthNow = rate;
    }
  }

  /** A new cycle begins: what was seen before the last one is forgotten. */
  advanceBandwidth(): void {
    if (!this.hasSampleThisCycle) return;
    this.hasSampleThisCycle = false;
    this.bandwidthBefore = this.bandwidthNow;
    this.bandwidthNow = 0;
  }

  /** Congestion: the bandwidth is at most this, whatever was seen before. */
  limitBandwidth(rate: number): void {
    if (rate <= 0 || rate >= this.bandwidth) return;
    this.bandwidthNow = rate;
    this.bandwidthBefore = rate;
  }

  /** BBR §4.5.3: data acknowledged beyond what the bandwidth explains. */
  private updateExtraAcked(sample: AckSample, windowBytes: number): void {
    const expected = (this.bandwidth * (sample.nowUs - this.extraStartUs)) / 1e6;
    if (this.extraStartUs === 0 || this.extraDelivered <= expected) {
      this.extraStartUs = sample.nowUs;
      this.extraDelivered = 0;
      return;
    }
    this.extraDelivered += sample.ackedBytes;
    this.extraAckedNow = Math.max(this.extraAckedNow, Math.min(this.extraDelivered - expected, windowBytes));
    if (this.roundCount - this.extraRound >= EXTRA_ACKED_ROUNDS) {
      this.extraRound = this.roundCount;
      this.extraAckedBefore = this.extraAckedNow;
      this.extraAckedNow = 0;
    }
  }

  /** The least round trip was measured anew. */
  setMinRtt(rttUs: number, nowUs: number): void {
    this.drainedQueueUs = Math.max(0, this.drainedQueueUs + this.minRttUs - rttUs);
    this.minRttUs = rttUs;
    this.minRttAtUs = nowUs;
  }

  /** Forgets the bandwidth: the path may be another one now. */
  forgetBandwidth(): void {
    this.bandwidthNow = 0;
    this.bandwidthBefore = 0;
    this.extraAckedNow = 0;
    this.extraAckedBefore = 0;
    this.extraStartUs = 0;
    this.dwellUs = 0;
    this.maxQueueUs = 0;
  }

  /** Forgets the round trip, too: the path is another one. */
  forgetPath(nowUs: number): void {
    this.forgetBandwidth();
    this.minRttUs = Infinity;
    this.minRttAtUs = nowUs;
    this.jitterUs = 0;
    this.hasJitter = false;
    this.drainedQueueUs = 0;
    this.queueUs = 0;
  }
}
