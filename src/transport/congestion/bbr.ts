/**
 * The default controller: a model of the path (bandwidth, round trip, random loss) in the class of
 * BBRv3 that tells random loss from congestion. Pure. Design and figures: docs/design/congestion.md.
 *
 * Sources: draft-ietf-ccwg-bbr (states, filters, gains). Departures: loss that does not depend on our
 * own rate is compensated for instead of reacted to; a standing queue is drained; beside a flow that
 * keeps the queue full it turns into CUBIC. The design note argues for each.
 */
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "./controller.ts";
import { CubicCurve } from "./cubic-curve.ts";
import { RandomLoss } from "./random-loss.ts";

type Phase =
  | "startup"
  | "drain"
  | "cruise"
  | "probe-up"
  | "probe-hold"
  | "probe-down"
  | "probe-rtt"
  | "compete";

/** First window in datagrams. */
const INITIAL_WINDOW_DATAGRAMS = 32;
/** Windows never fall below. BBR §2.7 (BBRMinPipeCwnd). */
const MIN_WINDOW_DATAGRAMS = 4;
/** Startup: pace 4 ln 2 times what was delivered, which doubles it every round. BBR §5.3.1. */
const STARTUP_PACING_GAIN = 2.77;
/** Window in round trips of data, everywhere but where it is drained. */
const CWND_GAIN = 2;
/** Startup ends after this many rounds... BBR §5.3.1.2. */
const FULL_PIPE_ROUNDS = 3;
/** ...in which bandwidth did not grow by a quarter. */
const FULL_PIPE_GROWTH = 1.25;
const DRAIN_GAIN = 0.5;
const UP_GAIN = 1.25;
const DOWN_GAIN = 0.75;
const DOWN_GAIN_MAX = 0.9;
/** Startup: bytes the window grows by for each one acknowledged, while no queue shows. Slow start has 1. */
const STARTUP_GROWTH = 1.5;
/** Startup: samples whose least one is looked at, and the growth of the round trip that tells a queue. RFC 9406 §4.3. */
const STARTUP_RTT_SAMPLES = 8;
const STARTUP_RTT_GROWTH = 1.125;
/** Startup: loss in a round beyond that of the rounds before that tells a full pipe. */
const STARTUP_LOSS = 0.1;
/** Startup: rounds paced below this share of the bandwidth found cannot have filled the pipe. */
const STARTUP_QUIET = 0.8;
/** Packets that such a comparison needs on both sides. */
const STARTUP_LOSS_PACKETS = 30;
/** Startup with a queue: a little faster than what arrives, until that stops growing. */
const STARTUP_CAREFUL_GAIN = 1.25;
/** Least round-trip time is believed for so long, in microseconds. BBR §4.1 (MinRTTFilterLen). */
const MIN_RTT_WINDOW_US = 10_000_000;
/** Loss beyond what chance makes of the random loss that counts as excess. BBR §2.4 (BBRLossThresh). */
const LOSS_THRESHOLD = 0.02;
/**
 * Queueing delay a cruising flow of W datagrams aims at: this share of the least round trip, divided by
 * the square root of W. Flows that share a queue see the same delay, so the larger one yields first.
 */
const QUEUE_TARGET = 0.8;
const QUEUE_TARGET_MIN_US = 1_000;
/** Most change of the cruising rate in one round. */
const CRUISE_STEP = 0.1;
/** Queue left after draining our own packets that tells of another sender, as a share of the least round trip. */
const FOREIGN_QUEUE = 0.3;
const FOREIGN_QUEUE_US = 3_000;
/** Rounds with excess loss and without a queue before they are looked into. */
const EXCESS_ROUNDS = 2;
/** Queueing delay that passes for none, as a share of the least round trip; a timer's resolution at least. */
const QUIET_QUEUE = 0.03;
const QUIET_QUEUE_US = 750;
const FOREIGN_EVIDENCE = 5;
/**
 * A competing flow that loses looks whether the others are gone, but not more often than this, in
 * microseconds; twice as long after each test that was followed by competing again, up to the second one.
 */
const TEST_INTERVAL_US = 5_000_000;
const TEST_INTERVAL_MAX_US = 20_000_000;
/** A cruising flow that gave way for this share of its rate and still meets a queue competes. */
const YIELD_MAX = 0.7;
/** The rate it remembers fades with this time constant, in microseconds. */
const REFERENCE_DECAY_US = 30_000_000;
/** Window kept after a loss beside others. Gentler than CUBIC's 0.7: the tests cost a part of the share. */
const COMPETE_BETA = 0.8;
/** Random loss below which any loss in a full queue counts as the queue's. */
const LEAST_RANDOM_LOSS = 0.005;
/** Rounds without a queue after which nobody competes. */
const QUIET_ROUNDS = 10;
const EXTRA_ACKED_ROUNDS = 10;

/** Makes the default controller. */
export const bbr: CongestionControllerFactory = (options) =>
  new Bbr(options.datagramBytes, options.nowUs, options.randomFloat);

class Bbr implements CongestionController {
  readonly name = "bbr";
  readonly slowStartThresholdBytes = Infinity;
  private phase: Phase = "startup";
  private datagramBytes: number;
  private readonly randomFloat: () => number;
  private cwnd: number;
  private pacingRate = Infinity;
  private pacingGain = STARTUP_PACING_GAIN;

  // Rounds: a round ends when a packet sent after its start is acknowledged.
  private roundEnd = 0;
  private roundCount = 0;
  private isRoundStart = false;
  private roundStartUs = 0;
  /** When the round just ended had begun. */
  private roundStartedAtUs = 0;
  private roundDelivered = 0;
  private roundLost = 0;
  private roundMinRttUs = Infinity;
  /** What the round just ended showed. */
  private lastLossRate = 0;
  private lastTotal = 0;
  private lastRate = 0;
  private queueUs = 0;
  private jitterUs = 0;
  /** How long packets count in flight on average while no queue stands: late and lost ones do for longer. */
  private dwellUs = 0;
  private inFlightSum = 0;
  private inFlightCount = 0;
  private hasStartupQueue = false;
  private recentMinRttUs = Infinity;
  private recentSamples = 0;

  // Bandwidth: the largest delivery rate of this cycle and the one before, in bytes per second.
  private bandwidthNow = 0;
  private bandwidthBefore = 0;
  private hasSampleThisCycle = false;
  private fullBandwidth = 0;
  private fullBandwidthRounds = 0;
  private startupLost = 0;
  private startupTotal = 0;
  /** Fastest pacing in this round and in the one before, whose packets' fate this round tells. */
  private pacedNow = Infinity;
  private pacedBefore = Infinity;
  /** Triples of pacing rate, packets lost and packets, one for each round of growth: a dozen at most. */
  private readonly startupRounds: number[] = [];

  // Round trip.
  private minRttUs = Infinity;
  private minRttAtUs: number;
  private probeRttMinUs = Infinity;
  private returnPhase: Phase = "cruise";

  // Acknowledgements that come in lumps.
  private extraStartUs = 0;
  private extraDelivered = 0;
  private extraAckedNow = 0;
  private extraAckedBefore = 0;
  private extraRound = 0;

  // The cycle.
  /** What cruising sends, in bytes per second; probes are relative to it. */
  private cruiseRate = 0;
  /** What cruising sent lately: giving way for half of it, in vain, tells of a sender that does not. */
  private referenceRate = 0;
  private referenceAtUs = 0;
  /** What was sent and either arrived or was lost at random, smoothed over eight rounds. */
  private achievedRate = 0;
  private phaseRound = 0;
  private phaseStartUs = 0;
  private cruiseRounds = 0;
  private cruiseUs = 0;
  private bandwidthAtUp = 0;
  private upStreak = 0;
  private foreignEvidence = 0;
  private isLossLimited = false;

  // Random loss: packets sent while we were quiet are observed from one packet number to another.
  readonly random = new RandomLoss();
  private observeFrom = Infinity;
  private observeTo = Infinity;
  private observeDelivered = -1;
  private observeLost = 0;
  private isTest = false;
  private lossBefore = 0;
  private rateBefore = 0;
  private excessRounds = 0;

  // Competition.
  private readonly curve = new CubicCurve();
  private windowBytes = 0;
  private reducedAtUs = -Infinity;
  private maxQueueUs = 0;
  private quietRounds = 0;
  private testedAtUs = 0;
  private testIntervalUs = TEST_INTERVAL_US;

  constructor(datagramBytes: number, nowUs: number, randomFloat: () => number) {
    this.datagramBytes = datagramBytes;
    this.randomFloat = randomFloat;
    this.cwnd = INITIAL_WINDOW_DATAGRAMS * datagramBytes;
    this.minRttAtUs = nowUs;
  }

  get state(): string {
    return this.phase;
  }
  get congestionWindowBytes(): number {
    return this.cwnd;
  }
  get pacingRateBytesPerSecond(): number {
    return this.pacingRate;
  }
  get bandwidthBytesPerSecond(): number {
    return Math.max(this.bandwidthNow, this.bandwidthBefore);
  }
  get randomLoss(): number {
    return this.random.rate;
  }

  handleSent(_nowUs: number, _packetNumber: number, _bytes: number, _bytesInFlight: number): void {}

  handleLoss(sample: LossSample): void {
    if (sample.isPersistentCongestion) {
      this.restart(sample.nowUs);
      this.cwnd = MIN_WINDOW_DATAGRAMS * this.datagramBytes;
      return;
    }
    if (this.phase === "compete") this.handleLossBesideOthers(sample);
  }

  handleSpuriousLoss(_nowUs: number, _packetNumber: number, _bytes: number, _sentAtUs: number): void {}
  handleAppLimited(_nowUs: number, _bytesInFlight: number): void {}

  handleDatagramSize(bytes: number): void {
    this.datagramBytes = bytes;
    this.cwnd = Math.max(this.cwnd, MIN_WINDOW_DATAGRAMS * bytes);
  }

  handlePathChange(nowUs: number): void {
    this.restart(nowUs);
    this.minRttUs = Infinity;
    this.minRttAtUs = nowUs;
    this.random.reset();
    this.pacingRate = Infinity;
    this.cwnd = INITIAL_WINDOW_DATAGRAMS * this.datagramBytes;
  }

  /** Back to startup: bandwidth is unknown. */
  private restart(nowUs: number): void {
    this.enter("startup", STARTUP_PACING_GAIN, nowUs);
    this.bandwidthNow = 0;
    this.bandwidthBefore = 0;
    this.fullBandwidth = 0;
    this.fullBandwidthRounds = 0;
    this.startupLost = 0;
    this.startupTotal = 0;
    this.startupRounds.length = 0;
    this.pacedNow = Infinity;
    this.pacedBefore = Infinity;
    this.hasStartupQueue = false;
    this.foreignEvidence = 0;
    this.observeFrom = Infinity;
    this.observeDelivered = -1;
    this.isTest = false;
    this.extraAckedNow = 0;
    this.extraAckedBefore = 0;
    this.extraStartUs = 0;
  }

  handleAck(sample: AckSample): void {
    this.updateMinRtt(sample);
    this.updateRound(sample);
    this.updateBandwidth(sample);
    this.updateExtraAcked(sample);
    this.updateObservation(sample);
    this.updatePhase(sample);
    this.setRates(sample);
  }

  // --- What the path shows -------------------------------------------------------------------------

  private updateRound(sample: AckSample): void {
    if (sample.hasRttSample) this.roundMinRttUs = Math.min(this.roundMinRttUs, sample.latestRttUs);
    this.inFlightSum += sample.priorBytesInFlight;
    this.inFlightCount++;
    this.isRoundStart = sample.largestAcked >= this.roundEnd;
    if (!this.isRoundStart) return;
    this.roundEnd = sample.nextPacketNumber;
    this.roundCount++;
    const delivered = sample.totalDeliveredBytes - this.roundDelivered;
    const lost = Math.max(0, sample.totalLostBytes - this.roundLost);
    const durationUs = sample.nowUs - this.roundStartUs;
    this.lastTotal = (delivered + lost) / this.datagramBytes;
    this.lastLossRate = delivered + lost > 0 ? lost / (delivered + lost) : 0;
    this.lastRate = durationUs > 0 ? (delivered * 1e6) / durationUs : 0;
    const achieved = this.lastRate / (1 - this.random.rate);
    this.achievedRate += (achieved - this.achievedRate) / 8;
    if (this.roundMinRttUs !== Infinity) {
      this.queueUs = Math.max(0, this.roundMinRttUs - this.minRttUs);
      this.maxQueueUs = Math.max(this.queueUs, this.maxQueueUs * 0.99);
      const jitterUs = Math.max(0, sample.smoothedRttUs - this.roundMinRttUs);
      this.jitterUs += (jitterUs - this.jitterUs) / 8;
    }
    if (delivered + lost > 0) {
      // Little's law: what is in flight on average, by the rate at which it leaves.
      const dwellUs = ((this.inFlightSum / this.inFlightCount) * durationUs) / (delivered + lost);
      this.dwellUs += (dwellUs - this.dwellUs) / 4;
    }
    this.inFlightSum = 0;
    this.inFlightCount = 0;
    this.roundMinRttUs = Infinity;
    this.roundStartedAtUs = this.roundStartUs;
    this.roundStartUs = sample.nowUs;
    this.roundDelivered = sample.totalDeliveredBytes;
    this.roundLost = sample.totalLostBytes;
  }

  private updateBandwidth(sample: AckSample): void {
    if (!sample.hasRateSample) return;
    const rate = (sample.rateDeliveredBytes * 1e6) / sample.rateIntervalUs;
    if (!sample.rateIsAppLimited) this.hasSampleThisCycle = true;
    if (rate >= this.bandwidthNow && (!sample.rateIsAppLimited || rate >= this.bandwidthBytesPerSecond)) {
      this.bandwidthNow = rate;
    }
  }

  private advanceBandwidth(): void {
    if (!this.hasSampleThisCycle) return;
    this.hasSampleThisCycle = false;
    this.bandwidthBefore = this.bandwidthNow;
    this.bandwidthNow = 0;
  }

  private updateMinRtt(sample: AckSample): void {
    if (!sample.hasRttSample) return;
    const rttUs = sample.latestRttUs;
    if (this.minRttUs === Infinity) this.minRttUs = Math.min(rttUs, sample.minRttUs);
    // A round trip close to the least one says that it still holds.
    if (rttUs <= this.minRttUs * 1.05 + 500) this.minRttAtUs = sample.nowUs;
    if (rttUs < this.minRttUs) this.minRttUs = rttUs;
    if (this.phase === "probe-rtt") this.probeRttMinUs = Math.min(this.probeRttMinUs, rttUs);
  }

  /** BBR §4.5.3: data acknowledged beyond what the bandwidth explains. */
  private updateExtraAcked(sample: AckSample): void {
    const bandwidth = this.bandwidthBytesPerSecond;
    const expected = (bandwidth * (sample.nowUs - this.extraStartUs)) / 1e6;
    if (this.extraStartUs === 0 || this.extraDelivered <= expected) {
      this.extraStartUs = sample.nowUs;
      this.extraDelivered = 0;
      return;
    }
    this.extraDelivered += sample.ackedBytes;
    const extra = Math.min(this.extraDelivered - expected, this.cwnd);
    this.extraAckedNow = Math.max(this.extraAckedNow, extra);
    if (this.roundCount - this.extraRound >= EXTRA_ACKED_ROUNDS) {
      this.extraRound = this.roundCount;
      this.extraAckedBefore = this.extraAckedNow;
      this.extraAckedNow = 0;
    }
  }

  // --- Random loss ---------------------------------------------------------------------------------

  /** Follows the packets that were sent while we were quiet. */
  private updateObservation(sample: AckSample): void {
    if (this.observeDelivered < 0) {
      if (sample.largestAcked < this.observeFrom) return;
      this.observeDelivered = sample.totalDeliveredBytes;
      this.observeLost = sample.totalLostBytes;
    }
    if (sample.largestAcked < this.observeTo) return;
    const lost = Math.max(0, sample.totalLostBytes - this.observeLost) / this.datagramBytes;
    const total = (sample.totalDeliveredBytes - this.observeDelivered) / this.datagramBytes + lost;
    this.observeFrom = Infinity;
    this.observeTo = Infinity;
    this.observeDelivered = -1;
    if (total > 0) this.handleObservation(lost, total);
  }

  private handleObservation(lost: number, total: number): void {
    const rate = lost / total;
    // Only an empty queue proves that the loss was not somebody's congestion.
    const isQuiet = this.queueUs <= this.quietQueueUs();
    if (isQuiet || rate < this.random.rate) this.random.handleQuietLoss(lost, total);
    if (!this.isTest) return;
    this.isTest = false;
    const halfExcess = Math.max((this.lossBefore - this.random.rate) / 2, LOSS_THRESHOLD / 2);
    const hasFallen = rate < this.lossBefore - halfExcess;
    if (!hasFallen && isQuiet) this.random.confirm(Math.min(rate, this.lossBefore));
    // Loss followed our rate, or others keep the queue full: what arrived is what the path carries.
    else this.limitBandwidth(this.rateBefore);
  }

  /** Least queueing delay of a round in which the queue ran empty, but for noise. */
  private quietQueueUs(): number {
    return Math.max(QUIET_QUEUE * this.minRttUs, QUIET_QUEUE_US) + this.jitterUs / 2;
  }

  /** Congestion: the bandwidth is what arrived, whatever was seen before. */
  private limitBandwidth(rate: number): void {
    this.isLossLimited = true;
    this.referenceRate = Math.min(this.referenceRate, rate);
    if (rate <= 0 || rate >= this.bandwidthBytesPerSecond) return;
    this.bandwidthNow = rate;
    this.bandwidthBefore = rate;
  }

  private hasExcessLoss(): boolean {
    return this.lastLossRate > this.random.expectedAtMost(this.lastTotal) + LOSS_THRESHOLD;
  }

  // --- Phases --------------------------------------------------------------------------------------

  private enter(phase: Phase, pacingGain: number, nowUs: number): void {
    this.phase = phase;
    this.pacingGain = pacingGain;
    this.phaseRound = this.roundCount;
    this.phaseStartUs = nowUs;
  }

  private get roundsInPhase(): number {
    return this.roundCount - this.phaseRound;
  }

  private foreignQueueUs(): number {
    return Math.max(FOREIGN_QUEUE * this.minRttUs, FOREIGN_QUEUE_US);
  }

  private updatePhase(sample: AckSample): void {
    const { nowUs } = sample;
    const bdp = this.ownBdpBytes();
    switch (this.phase) {
      case "startup":
        if (!this.hasStartupQueue) this.watchStartup(sample);
        if (this.isRoundStart) {
          this.updateStartup(sample);
          this.pacedBefore = this.pacedNow;
          this.pacedNow = 0;
        }
        this.pacedNow = Math.max(this.pacedNow, this.pacingRate);
        break;
      case "drain":
        if (sample.bytesInFlight <= bdp || this.roundsInPhase > 4) this.enterCruise(nowUs);
        break;
      case "cruise":
        if (this.isRoundStart) this.updateCruise(sample);
        break;
      case "probe-up":
        if (this.isRoundStart && this.roundsInPhase >= 1) this.enter("probe-hold", 1, nowUs);
        break;
      case "probe-hold":
        if (this.isRoundStart && this.roundsInPhase >= 1) this.endProbe(sample);
        break;
      case "probe-down":
        if (this.isRoundStart && (sample.bytesInFlight <= bdp || this.roundsInPhase >= 4)) {
          this.observeTo = sample.nextPacketNumber;
          this.enterCruise(nowUs);
        }
        break;
      case "probe-rtt":
        if (this.isRoundStart && this.roundsInPhase >= 2) this.endProbeRtt(sample);
        break;
      case "compete":
        if (this.isRoundStart) this.updateCompete(sample);
        break;
    }
    if (
      nowUs - this.minRttAtUs > MIN_RTT_WINDOW_US &&
      this.phase !== "probe-rtt" &&
      this.phase !== "startup" &&
      this.phase !== "compete"
    ) {
      this.enterProbeRtt("cruise", nowUs);
    }
  }

  /** Looks for the first signs of a full pipe, without waiting for the round to end. */
  private watchStartup(sample: AckSample): void {
    if (sample.hasRttSample) {
      this.recentMinRttUs = Math.min(this.recentMinRttUs, sample.latestRttUs);
      if (++this.recentSamples >= STARTUP_RTT_SAMPLES) {
        if (this.recentMinRttUs > STARTUP_RTT_GROWTH * this.minRttUs + 1_000) this.hasStartupQueue = true;
        this.recentMinRttUs = Infinity;
        this.recentSamples = 0;
      }
    }
    const lost = (sample.totalLostBytes - this.roundLost) / this.datagramBytes;
    const total = (sample.totalDeliveredBytes - this.roundDelivered) / this.datagramBytes + lost;
    if (this.isStartupLoss(lost, total)) this.hasStartupQueue = true;
  }

  /** Whether so much is lost in a round of startup that neither chance nor the rounds before explain it. */
  private isStartupLoss(lost: number, total: number): boolean {
    if (total < STARTUP_LOSS_PACKETS || this.startupTotal < STARTUP_LOSS_PACKETS) return false;
    const usual = Math.max(this.startupLost / this.startupTotal, 0.01);
    const chance = 3 * Math.sqrt(usual * (1 - usual) * (1 / total + 1 / this.startupTotal));
    return lost / total > usual + chance + STARTUP_LOSS;
  }

  private updateStartup(sample: AckSample): void {
    if (sample.rateIsAppLimited) return;
    const bandwidth = this.bandwidthBytesPerSecond;
    const grew = bandwidth >= this.fullBandwidth * FULL_PIPE_GROWTH;
    if (grew) {
      this.fullBandwidth = bandwidth;
      this.fullBandwidthRounds = 0;
      if (!this.hasStartupQueue) {
        this.startupLost += this.lastLossRate * this.lastTotal;
        this.startupTotal += this.lastTotal;
        this.startupRounds.push(this.pacedBefore, this.lastLossRate * this.lastTotal, this.lastTotal);
      }
      return;
    }
    this.fullBandwidthRounds++;
    const hasQueue = this.queueUs > this.foreignQueueUs();
    const hasLoss =
      this.lastLossRate > LOSS_THRESHOLD + 2 * (this.startupLost / Math.max(1, this.startupTotal));
    if (
      this.fullBandwidthRounds < FULL_PIPE_ROUNDS &&
      !hasQueue &&
      !(hasLoss && this.fullBandwidthRounds >= 2)
    )
      return;
    this.learnStartupLoss();
    this.cruiseRate = this.sendRate();
    this.enter("drain", DRAIN_GAIN, sample.nowUs);
  }

  /** Loss while we sent well below what the path turned out to carry was not ours. */
  private learnStartupLoss(): void {
    const { startupRounds } = this;
    const quiet = this.bandwidthBytesPerSecond * STARTUP_QUIET;
    let lost = 0;
    let total = 0;
    for (let i = 0; i < startupRounds.length; i += 3) {
      if (startupRounds[i] > quiet) continue;
      lost += startupRounds[i + 1];
      total += startupRounds[i + 2];
    }
    if (total >= STARTUP_LOSS_PACKETS) this.random.confirm(lost / total);
    startupRounds.length = 0;
  }

  private enterCruise(nowUs: number): void {
    // BBR §5.3.3.4: wait for two to three seconds, or as long as a Reno flow of our size would need.
    const rounds = this.isLossLimited ? 16 : 6;
    this.cruiseRounds = rounds + Math.floor(this.randomFloat() * 3);
    this.cruiseUs = this.isLossLimited ? (2 + this.randomFloat()) * 1e6 : 50_000;
    this.enter("cruise", 1, nowUs);
  }

  private updateCruise(sample: AckSample): void {
    const { nowUs } = sample;
    if (this.roundsInPhase === 1) {
      // The packets of this round left after ours had drained: what still waits is somebody else's.
      if (this.queueUs > this.foreignQueueUs() + this.jitterUs / 2) this.foreignEvidence++;
      else this.foreignEvidence = 0;
      if (this.foreignEvidence >= FOREIGN_EVIDENCE) {
        this.enterCompete(sample);
        return;
      }
    }
    const targetUs = this.queueTargetUs();
    const step = Math.max(-1, Math.min(1, (targetUs - this.queueUs) / targetUs));
    // An empty queue leaves room; a short one says that we are there.
    const stepUp = this.queueUs <= this.quietQueueUs() ? CRUISE_STEP : CRUISE_STEP / 2;
    this.cruiseRate *= 1 + (step > 0 ? stepUp : CRUISE_STEP) * step;
    this.referenceRate *= Math.exp((this.referenceAtUs - nowUs) / REFERENCE_DECAY_US);
    this.referenceAtUs = nowUs;
    this.referenceRate = Math.max(this.referenceRate, this.achievedRate);
    if (step < 0 && Math.max(this.cruiseRate, this.achievedRate) < YIELD_MAX * this.referenceRate) {
      if (this.queueUs > 2 * this.foreignQueueUs()) {
        this.referenceRate = this.achievedRate;
        this.enterProbeRtt("cruise", nowUs);
      } else this.enterCompete(sample);
      return;
    }
    if (this.roundsInPhase >= 2 && this.hasExcessLoss()) {
      if (this.queueUs > this.foreignQueueUs()) {
        this.limitBandwidth(this.lastRate);
        this.enterDown(sample, false);
        return;
      }
      // One round may be a burst on the air; a pipe that is too full loses in the next one, too.
      if (++this.excessRounds >= EXCESS_ROUNDS) {
        this.enterDown(sample, true);
        this.rateBefore = this.lastRate;
        return;
      }
    } else this.excessRounds = 0;
    if (this.roundsInPhase >= this.cruiseRounds && nowUs - this.phaseStartUs >= this.cruiseUs) {
      this.advanceBandwidth();
      this.bandwidthAtUp = this.bandwidthBytesPerSecond;
      this.upStreak = 0;
      this.isLossLimited = false;
      this.enter("probe-up", UP_GAIN, nowUs);
    }
  }

  /** One round was sent faster, and its packets have come back. */
  private endProbe(sample: AckSample): void {
    const hasGrown = this.bandwidthBytesPerSecond >= 1.1 * this.bandwidthAtUp;
    if (this.hasExcessLoss()) {
      this.isLossLimited = true;
      this.enterDown(sample, true);
    } else if (hasGrown && this.queueUs < this.foreignQueueUs()) {
      // There is more: go on, faster each time.
      this.cruiseRate = this.sendRate();
      this.upStreak++;
      this.bandwidthAtUp = this.bandwidthBytesPerSecond;
      this.enter("probe-up", Math.min(UP_GAIN + 0.25 * this.upStreak, 2), sample.nowUs);
    } else {
      // The pipe took it without a queue: there was room.
      if (this.queueUs <= this.quietQueueUs()) this.cruiseRate *= UP_GAIN;
      this.enterDown(sample, false);
    }
  }

  private queueTargetUs(): number {
    const windowDatagrams = Math.max((this.cruiseRate * this.minRttUs) / 1e6 / this.datagramBytes, 4);
    const targetUs = (QUEUE_TARGET * this.minRttUs) / Math.sqrt(windowDatagrams);
    return Math.max(targetUs, QUEUE_TARGET_MIN_US) + this.jitterUs / 4;
  }

  private enterDown(sample: AckSample, isTest: boolean): void {
    // As deep as the queue to drain, and deep enough to see whether loss follows our rate.
    const gain = isTest
      ? DOWN_GAIN
      : Math.max(DOWN_GAIN, Math.min(DOWN_GAIN_MAX, 1 - this.queueUs / this.minRttUs));
    this.enter("probe-down", gain, sample.nowUs);
    // The first packets still meet the queue of what came before.
    this.observeFrom = sample.nextPacketNumber + Math.floor(sample.bytesInFlight / this.datagramBytes / 4);
    this.observeTo = Infinity;
    this.observeDelivered = -1;
    this.isTest = isTest;
    this.lossBefore = this.lastLossRate;
    // What went through without loss before the probe goes through after it.
    this.rateBefore = Math.max(this.lastRate, this.bandwidthAtUp);
    this.excessRounds = 0;
  }

  private enterProbeRtt(returnTo: Phase, nowUs: number): void {
    this.returnPhase = returnTo;
    this.probeRttMinUs = Infinity;
    this.observeFrom = Infinity;
    this.observeDelivered = -1;
    this.isTest = false;
    this.enter("probe-rtt", 1, nowUs);
  }

  private endProbeRtt(sample: AckSample): void {
    const { nowUs } = sample;
    if (this.returnPhase === "compete") {
      this.testedAtUs = nowUs;
      const queueUs = this.probeRttMinUs - this.minRttUs;
      if (queueUs > Math.max(0.15 * this.minRttUs, 2_000)) {
        this.enter("compete", 1, nowUs);
        this.curve.restartEpoch();
        return;
      }
      this.leaveCompete(nowUs);
      return;
    }
    if (this.probeRttMinUs !== Infinity) this.minRttUs = this.probeRttMinUs;
    this.minRttAtUs = nowUs;
    this.foreignEvidence = 0;
    this.enterCruise(nowUs);
  }

  private leaveCompete(nowUs: number): void {
    this.minRttAtUs = nowUs;
    this.foreignEvidence = 0;
    this.quietRounds = 0;
    this.cruiseRate = this.sendRate();
    this.referenceRate = this.achievedRate;
    this.enterCruise(nowUs);
  }

  // --- Beside others -------------------------------------------------------------------------------

  private enterCompete(sample: AckSample): void {
    this.foreignEvidence = 0;
    const rttUs = sample.smoothedRttUs;
    // Back to what was held before giving way in vain.
    this.windowBytes = Math.max(
      (this.referenceRate * rttUs) / 1e6,
      MIN_WINDOW_DATAGRAMS * this.datagramBytes,
    );
    this.curve.aimAt(this.windowBytes / this.datagramBytes);
    this.reducedAtUs = -Infinity;
    this.maxQueueUs = this.queueUs;
    // Back again soon: the test had been wrong.
    const isBackSoon = sample.nowUs - this.testedAtUs < 2 * TEST_INTERVAL_MAX_US && this.testedAtUs > 0;
    this.testIntervalUs = isBackSoon
      ? Math.min(2 * this.testIntervalUs, TEST_INTERVAL_MAX_US)
      : TEST_INTERVAL_US;
    this.testedAtUs = sample.nowUs;
    this.enter("compete", 1, sample.nowUs);
  }

  private handleLossBesideOthers(sample: LossSample): void {
    if (sample.largestLostSentAtUs <= this.reducedAtUs) return;
    // A full queue drops; a loss while it is far from full is random.
    if (this.queueUs < 0.5 * this.maxQueueUs || this.random.rate > LEAST_RANDOM_LOSS) return;
    this.giveWayBesideOthers(sample.nowUs);
  }

  private giveWayBesideOthers(nowUs: number): void {
    this.reducedAtUs = nowUs;
    const { datagramBytes } = this;
    // All senders see a full queue drop at about the same time: those of our kind drain together now.
    if (nowUs - this.testedAtUs > this.testIntervalUs) this.enterProbeRtt("compete", nowUs);
    this.windowBytes = this.curve.reduce(this.windowBytes / datagramBytes, COMPETE_BETA) * datagramBytes;
  }

  private updateCompete(sample: AckSample): void {
    if (this.roundsInPhase % 8 === 0) this.advanceBandwidth();
    // Where packets are lost at random, a round tells more than a packet.
    if (
      this.random.rate > LEAST_RANDOM_LOSS &&
      this.roundStartedAtUs > this.reducedAtUs &&
      this.queueUs >= 0.5 * this.maxQueueUs &&
      this.lastLossRate > (this.random.rate + this.random.expectedAtMost(this.lastTotal)) / 2
    ) {
      this.giveWayBesideOthers(sample.nowUs);
    }
    this.quietRounds = this.queueUs <= this.quietQueueUs() ? this.quietRounds + 1 : 0;
    if (this.quietRounds >= QUIET_ROUNDS) {
      // Nobody fills the queue any more.
      this.leaveCompete(sample.nowUs);
      return;
    }
    if (sample.nowUs - this.testedAtUs > 2 * TEST_INTERVAL_MAX_US)
      this.enterProbeRtt("compete", sample.nowUs);
  }

  // --- What follows --------------------------------------------------------------------------------

  /** Bytes per second to send so that the bandwidth arrives in spite of random loss. */
  private sendRate(): number {
    return this.bandwidthBytesPerSecond / (1 - this.random.rate);
  }

  private bdpBytes(): number {
    return (this.sendRate() * this.minRttUs) / 1e6;
  }

  private ownBdpBytes(): number {
    return (Math.min(this.cruiseRate, this.sendRate()) * this.minRttUs) / 1e6;
  }

  private setRates(sample: AckSample): void {
    const { datagramBytes } = this;
    const floor = MIN_WINDOW_DATAGRAMS * datagramBytes;
    const rate = this.sendRate();
    if (this.phase === "compete") {
      const acked = sample.ackedBytes / datagramBytes;
      if (
        sample.largestAckedSentAtUs > this.reducedAtUs &&
        sample.priorBytesInFlight + 3 * datagramBytes >= this.windowBytes
      ) {
        this.windowBytes =
          this.curve.grow(this.windowBytes / datagramBytes, acked, sample.nowUs, sample.smoothedRttUs) *
          datagramBytes;
      }
      this.windowBytes = Math.max(this.windowBytes, floor);
      this.cwnd = this.windowBytes;
      this.pacingRate = (1.2 * this.cwnd * 1e6) / sample.smoothedRttUs;
      return;
    }
    if (rate === 0 || this.minRttUs === Infinity) {
      this.cwnd += sample.ackedBytes;
      if (sample.hasRttSample) this.pacingRate = (STARTUP_PACING_GAIN * this.cwnd * 1e6) / sample.latestRttUs;
      return;
    }
    if (this.phase === "probe-rtt") {
      this.cwnd = Math.max(0.5 * this.bdpBytes(), floor);
      this.pacingRate = rate;
      return;
    }
    const extra = Math.max(this.extraAckedNow, this.extraAckedBefore);
    const isQuiet = this.queueUs <= this.quietQueueUs();
    const holdUs = Math.max(
      this.minRttUs + this.jitterUs,
      isQuiet && this.phase !== "startup" ? this.dwellUs : 0,
    );
    const target = CWND_GAIN * ((rate * holdUs) / 1e6) + extra + 3 * datagramBytes;
    if (this.phase === "startup") {
      if (this.hasStartupQueue) {
        this.pacingRate = STARTUP_CAREFUL_GAIN * rate;
        this.cwnd = target;
      } else {
        // As slow start: a sample of the rate lags behind a window that doubles.
        if (!sample.rateIsAppLimited) this.cwnd += STARTUP_GROWTH * sample.ackedBytes;
        this.pacingRate = Math.max(
          STARTUP_PACING_GAIN * rate,
          ((1 + STARTUP_GROWTH) * this.cwnd * 1e6) / sample.smoothedRttUs,
        );
      }
    } else {
      this.cruiseRate = Math.min(this.cruiseRate, rate);
      this.pacingRate = this.pacingGain * this.cruiseRate;
      this.cwnd = target;
    }
    this.cwnd = Math.max(this.cwnd, floor);
  }
}
