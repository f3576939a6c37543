/**
 * Startup: when the pipe is full, and what the rounds on the way tell of random loss. How it is filled is
 * startup-window.ts's. Pure. Sources: draft-ietf-ccwg-bbr §5.3.1; RFC 9406 for the signs of a queue within a round.
 */
import type { AckSample } from "./controller.ts";
import type { PathMeter } from "./path-meter.ts";

/** Startup ends after this many rounds... BBR §5.3.1.2. */
const FULL_PIPE_ROUNDS = 3;
/** ...in which bandwidth did not grow by a quarter. */
const FULL_PIPE_GROWTH = 1.25;
/** The same while a sign of a queue makes us send only a quarter faster than what arrives. */
const CAREFUL_GROWTH = 1.1;

/** Samples whose least one is looked at: half a round trip of them. */
const RTT_SAMPLES = 4;
/** Samples that a round needs to tell the least round trip of packets that follow each other. */
const ROUND_SAMPLES = 4;
/** Deviations that pass for jitter before there was such a round. RFC 6298 §2 (K). */
const UNSURE_VARIATIONS = 4;
/** Growth of the round trip that tells a queue. RFC 9406 §4.3. */
const RTT_GROWTH = 1.125;
const RTT_GROWTH_US = 1_000;

/** A round whose round trips stay this far below that growth has no queue: the signs were a stall's. RFC 9406 §4.2. */
const RTT_CALM = 0.5;

/** Loss in a round beyond that of the rounds before that tells a full pipe. */
const LOSS_GROWTH = 0.1;
/** Loss in a round that tells a full pipe whatever came before: no path that is of use loses half. */
const LOSS_MAX = 0.5;
/** Packets that such a comparison needs on both sides. */
const LOSS_PACKETS = 30;
/** Assumed for the noise of a path without random loss. */
const LEAST_LOSS = 0.01;
/** Loss in a round that, beside stalled growth, tells a full pipe. BBR §2.4 (BBRLossThresh). */
const LOSS_THRESHOLD = 0.02;

/** Rounds paced below this share of the bandwidth found cannot have filled the pipe. */
const QUIET_SHARE = 0.8;

/** One startup. */
export class Startup {
  /** Whether the pipe showed signs of being full. */
  hasQueue = false;
  /** Whether a round that began with such a sign ended with it. */
  private isConfirmed = false;
  /** Since that sign: least round trip, and how many were measured. */
  private carefulMinRttUs = Infinity;
  private carefulSamples = 0;
  /** Round trips below this say that there was no queue after all; 0 where loss was the sign. */
  private calmRttUs = 0;
  private fullBandwidth = 0;
  private stalledRounds = 0;
  private recentMinRttUs = Infinity;
  private recentSamples = 0;
  /** Least round trips of this round and of all before it that had enough samples. */
  private roundMinRttUs = Infinity;
  private roundSamples = 0;
  private roundsMinRttUs = Infinity;
  private lostPackets = 0;
  private packets = 0;
  /** Fastest pacing in this round and in the one before, whose packets' fate this round tells. */
  private pacedNow = Infinity;
  private pacedBefore = Infinity;
  /** Triples of pacing rate, packets lost and packets, one for each round of growth: a dozen at most. */
  private readonly rounds: number[] = [];

  /** Starts over. */
  reset(): void {
    this.hasQueue = false;
    this.isConfirmed = false;
    this.fullBandwidth = 0;
    this.stalledRounds = 0;
    this.recentMinRttUs = Infinity;
    this.recentSamples = 0;
    this.roundMinRttUs = Infinity;
    this.roundSamples = 0;
    this.roundsMinRttUs = Infinity;
    this.lostPackets = 0;
    this.packets = 0;
    this.pacedNow = Infinity;
    this.pacedBefore = Infinity;
    this.rounds.length = 0;
  }

  /** Takes an acknowledgement that the meter has seen; returns whether the pipe is full. */
  handleAck(sample: AckSample, meter: PathMeter, pacingRate: number): boolean {
    if (!this.hasQueue) this.watch(sample, meter);
    else if (!this.isConfirmed) this.reconsider(sample, meter);
    let isFull = false;
    if (meter.isRoundStart) {
      isFull = !sample.rateIsAppLimited && this.handleRound(meter, sample.rttVariationUs);
      this.pacedBefore = this.pacedNow;
      this.pacedNow = 0;
    }
    this.pacedNow = Math.max(this.pacedNow, pacingRate);
    return isFull;
  }

  /** Looks for the first signs of a full pipe, without waiting for the round to end. */
  private watch(sample: AckSample, meter: PathMeter): void {
    if (meter.isRoundStart) {
      if (this.roundSamples >= ROUND_SAMPLES)
        this.roundsMinRttUs = Math.min(this.roundsMinRttUs, this.roundMinRttUs);
      this.roundMinRttUs = Infinity;
      this.roundSamples = 0;
    }
    if (sample.hasRttSample) {
      this.roundMinRttUs = Math.min(this.roundMinRttUs, sample.latestRttUs);
      this.roundSamples++;
      this.recentMinRttUs = Math.min(this.recentMinRttUs, sample.latestRttUs);
      if (++this.recentSamples >= RTT_SAMPLES) {
        // Jitter is no queue: neither the luck of a single packet nor the usual deviation counts.
        const isSure = this.roundsMinRttUs !== Infinity;
        const variations = isSure ? 1 : UNSURE_VARIATIONS;
        const variationUs = Math.max(variations * sample.rttVariationUs, meter.spreadUs);
        const noQueueUs = RTT_GROWTH * this.baseUs(meter) + RTT_GROWTH_US + variationUs;
        if (this.recentMinRttUs > noQueueUs) {
          const baseUs = this.baseUs(meter);
          this.beCareful(baseUs + RTT_CALM * (noQueueUs - baseUs));
        }
        this.recentMinRttUs = Infinity;
        this.recentSamples = 0;
      }
    }
    const lost = meter.lostSoFar(sample);
    if (this.isUnusual(lost, meter.deliveredSoFar(sample) + lost)) {
      this.beCareful(0);
    }
  }

  /** There is a sign of a full pipe; if it was a round trip, those below `calmRttUs` will take it back. */
  private beCareful(calmRttUs: number): void {
    this.hasQueue = true;
    this.calmRttUs = calmRttUs;
    this.carefulMinRttUs = Infinity;
    this.carefulSamples = 0;
  }

  /**
   * A full pipe's queue stands, and what overflows goes on to. What made way was a process or a radio that
   * was held up, or a handful of packets lost by chance: RFC 9406 §4.2 goes back to slow start then, too.
   */
  private reconsider(sample: AckSample, meter: PathMeter): void {
    if (sample.hasRttSample) {
      this.carefulMinRttUs = Math.min(this.carefulMinRttUs, sample.latestRttUs);
      this.carefulSamples++;
    }
    if (!meter.isRoundStart || this.carefulSamples < ROUND_SAMPLES) return;
    const isUnusual = this.isUnusual(meter.lossRate * meter.packets, meter.packets);
    const wasQueue = this.calmRttUs > 0 && this.carefulMinRttUs > this.calmRttUs;
    if (!isUnusual && !wasQueue) {
      this.hasQueue = false;
      this.roundMinRttUs = Infinity;
      this.roundSamples = 0;
      this.recentMinRttUs = Infinity;
      this.recentSamples = 0;
    }
    this.isConfirmed = this.hasQueue;
  }

  /** Least round trip that packets which follow each other had, as far as known. */
  private baseUs(meter: PathMeter): number {
    return this.roundsMinRttUs === Infinity ? meter.minRttUs : this.roundsMinRttUs;
  }

  /** Whether so much is lost that neither chance nor the rounds before explain it. */
  private isUnusual(lost: number, total: number): boolean {
    if (total < LOSS_PACKETS) return false;
    if (lost > LOSS_MAX * total) return true;
    if (this.packets < LOSS_PACKETS) return false;
    const usual = Math.max(this.lostPackets / this.packets, LEAST_LOSS);
    const chance = 3 * Math.sqrt(usual * (1 - usual) * (1 / total + 1 / this.packets));
    return lost / total > usual + chance + LOSS_GROWTH;
  }

  private handleRound(meter: PathMeter, rttVariationUs: number): boolean {
    const lost = meter.lossRate * meter.packets;
    const growth = this.hasQueue ? CAREFUL_GROWTH : FULL_PIPE_GROWTH;
    if (meter.bandwidth >= this.fullBandwidth * growth) {
      this.fullBandwidth = meter.bandwidth;
      this.stalledRounds = 0;
      if (!this.hasQueue) {
        this.lostPackets += lost;
        this.packets += meter.packets;
        this.rounds.push(this.pacedBefore, lost, meter.packets);
      }
      return false;
    }
    this.stalledRounds++;
    const queueUs = meter.minRttUs + meter.queueUs - this.baseUs(meter);
    const isStanding = queueUs > meter.standingQueueUs + Math.max(rttVariationUs, meter.spreadUs);
    if (this.stalledRounds >= FULL_PIPE_ROUNDS || isStanding) return true;
    const usual = this.lostPackets / Math.max(1, this.packets);
    return this.stalledRounds >= 2 && meter.lossRate > LOSS_THRESHOLD + 2 * usual;
  }

  /**
   * Share of packets lost while we sent well below what the path turned out to carry: that was not our
   * doing. `undefined` when there were too few of them.
   */
  randomLoss(bandwidth: number): number | undefined {
    let lost = 0;
    let total = 0;
    for (let i = 0; i < this.rounds.length; i += 3) {
      if (this.rounds[i] > bandwidth * QUIET_SHARE) continue;
      // An outage, or a path that swallows large packets: chance does not take most of a round.
      if (this.rounds[i + 1] > LOSS_MAX * this.rounds[i + 2]) continue;
      lost += this.rounds[i + 1];
      total += this.rounds[i + 2];
    }
    return total >= LOSS_PACKETS ? lost / total : undefined;
  }
}
