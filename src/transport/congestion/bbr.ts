/**
 * The default controller: a model of the path (bandwidth, round trip, random loss) in the class of
 * BBRv3 that tells random loss from congestion; and `polite`, the same one giving way to everybody.
 * Pure. Design and figures: docs/design/congestion.md.
 *
 * Sources: draft-ietf-ccwg-bbr (states, filters, gains). Departures: loss that does not depend on our
 * own rate is compensated for instead of reacted to; a standing queue is drained; beside a flow that
 * keeps the queue full it turns into CUBIC. The design note argues for each.
 */
import { COMPETE_PACING_GAIN, Competition } from "./competition.ts";
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "./controller.ts";
import { PacketTrain } from "./packet-train.ts";
import { PathMeter } from "./path-meter.ts";
import { QuietObservation } from "./quiet-observation.ts";
import { RandomLoss } from "./random-loss.ts";
import {
  Startup,
  STARTUP_CAREFUL_GAIN,
  STARTUP_GROWTH,
  STARTUP_PACING_GAIN,
  STARTUP_WINDOW,
} from "./startup.ts";

type Phase =
  | "startup"
  | "drain"
  | "cruise"
  | "probe-up"
  | "probe-hold"
  | "probe-down"
  | "probe-rtt"
  | "compete";

/** First window in datagrams: two rounds of slow start less than ten, and what paths take without harm. */
const INITIAL_WINDOW_DATAGRAMS = 32;
/** Least time that the part of the first flight is spread over that does not leave at once, in microseconds. */
const FIRST_FLIGHT_US = 10_000;
/**
 * What the first burst says of the path is believed this far, and in one round the window grows to no more
 * than so many first ones: a shaper lets a burst pass faster than what follows.
 */
const JUMP_SHARE = 0.75;
const JUMP_MAX = 16;
/** Growth from there on. */
const GROWTH_AFTER_JUMP = 0.5;
/** Windows never fall below. BBR §2.7 (BBRMinPipeCwnd). */
const MIN_WINDOW_DATAGRAMS = 4;
/** Window in round trips of data: room for late packets and acknowledgements. BBR §2.4 (BBRDefaultCwndGain). */
const CWND_GAIN = 2;

const DRAIN_GAIN = 0.5;
const DRAIN_ROUNDS = 4;
/** Probing up: a quarter more, and a quarter more again each time it was answered. BBR §5.3.3. */
const UP_GAIN = 1.25;
const UP_GAIN_STEP = 0.25;
const UP_GAIN_MAX = 2;
const UP_DATAGRAMS = 10;
/** Growth of the bandwidth that answers a probe. */
const UP_ANSWER = 1.1;
/** Probing down: as deep as the queue to drain, between these. */
const DOWN_GAIN = 0.75;
const DOWN_GAIN_MAX = 0.9;
const DOWN_ROUNDS = 4;

/** Rounds of cruising between probes, and the least time in microseconds: many timer ticks. */
const CRUISE_ROUNDS = 4;
const CRUISE_US = 50_000;
/** The same after a probe or a round lost packets. BBR §5.3.3.5: two to three seconds. */
const CRUISE_AFTER_LOSS_ROUNDS = 16;
const CRUISE_AFTER_LOSS_US = 2_000_000;
/** Chance between flows, so that they do not probe together. */
const CRUISE_RANDOM_ROUNDS = 3;
const CRUISE_RANDOM_US = 1_000_000;

/**
 * Queueing delay a cruising flow of W datagrams aims at: this share of the least round trip, divided by
 * the square root of W. Flows that share a queue see the same delay, so the larger one yields first.
 */
const QUEUE_TARGET = 0.8;
const QUEUE_TARGET_US = 1_000;
const QUEUE_TARGET_DATAGRAMS = 1.5;
/** Rounds of competing in which a bandwidth sample counts. */
const COMPETE_CYCLE_ROUNDS = 8;
/** Most change of the cruising rate in one round. */
const CRUISE_STEP = 0.1;
const CRUISE_SPEED = 1;

/** Least round-trip time is believed for so long, in microseconds. BBR §2.4 (MinRTTFilterLen). */
const MIN_RTT_WINDOW_US = 10_000_000;
/** Measuring it anew: rounds, and the window in round trips of data. BBR §2.4 (BBRProbeRTTCwndGain). */
const PROBE_RTT_ROUNDS = 2;
const PROBE_RTT_CWND_GAIN = 0.5;

/** Loss beyond what chance makes of the random loss that counts as excess. BBR §2.4 (BBRLossThresh). */
const LOSS_THRESHOLD = 0.02;
/** Packets that a test of loss needs to tell anything. */
const TEST_PACKETS = 30;
/** Rounds of fewer packets do not tell by themselves how much is lost. */
const SMALL_ROUND_PACKETS = 100;
/** Rounds with excess loss and without a queue before they are looked into: one may be a burst on the air. */
const EXCESS_ROUNDS = 2;

/**
 * A flow whose packets are marked CE gives way to this share of its rate, and drains its queue. RFC 8511
 * §4 allows gentler answers to marks than to losses: they come while the queue is still short.
 */
const MARKED_SHARE = 0.85;

/** Times in a row that a queue stands after ours was drained, which tell of another sender. */
const FOREIGN_EVIDENCE = 5;
/** A flow that gave way down to this share of what it had lately, and still meets a queue, competes. */
const YIELD_MAX = 0.7;
/** What it had fades with this time constant, in microseconds: a few growth periods of CUBIC. */
const REFERENCE_DECAY_US = 30_000_000;
/** Queue left in a test that tells that the others are still there, as a share of the round trip. */
const TEST_QUEUE = 0.15;
const TEST_QUEUE_US = 2_000;

/** Tests in a row that find a longer round trip before it is believed to be the path's. */
const RAISED_PROBES = 4;

/** `polite` gives way at this share of the default's queue target... */
const POLITE_TARGET = 0.5;
/** ...to this share of its rate in a round with excess loss... */
const POLITE_LOSS = 0.7;
/** ...but never below two datagrams a round trip, or this many bytes a second where round trips are short. */
const POLITE_FLOOR_DATAGRAMS = 2;
const POLITE_FLOOR_BYTES_PER_SECOND = 50_000;

/** Makes the default controller. */
export const bbr: CongestionControllerFactory = (options) => new Bbr("bbr", options);

/** Makes a scavenger: fills what others leave, gives way when a queue forms. */
export const polite: CongestionControllerFactory = (options) => new Bbr("polite", options);

class Bbr implements CongestionController {
  readonly name: "bbr" | "polite";
  readonly slowStartThresholdBytes = Infinity;
  private readonly isPolite: boolean;
  private readonly randomFloat: () => number;
  private readonly meter: PathMeter;
  private readonly random = new RandomLoss();
  private readonly observation = new QuietObservation();
  private readonly startup = new Startup();
  private readonly train = new PacketTrain();
  private readonly competition = new Competition();
  /** Window that the first burst suggested, and the first packet sent after. */
  private jumpBytes = 0;
  private jumpEnd = 0;

  private phase: Phase = "startup";
  private phaseRound = 0;
  private phaseStartUs = 0;
  private datagramBytes: number;
  private windowBytes: number;
  /** Round in which the window was full last. */
  private fullWindowRound = -2;
  private pacingRate = Infinity;
  private pacingGain = STARTUP_PACING_GAIN;

  /** What cruising sends, in bytes per second; probes are relative to it. */
  private cruiseRate = 0;
  private cruiseRounds = 0;
  private cruiseUs = 0;
  /** What was sent and either arrived or was lost at random, smoothed over eight rounds. */
  private achievedRate = 0;
  /** The largest achieved rate lately, fading. */
  private referenceRate = 0;
  private referenceAtUs = 0;

  private bandwidthAtUp = 0;
  private upStreak = 0;
  /** When marks were answered last. */
  private markedAtUs = -Infinity;
  private foreignEvidence = 0;
  private excessRounds = 0;
  /** Of this cruise but for its first round: packets, packets lost, time. */
  private cruisePackets = 0;
  private cruiseLost = 0;
  private cruisedUs = 0;
  private isAfterLoss = false;
  /** A test of loss: whether one runs, and the loss and delivery rate that gave rise to it. */
  private isTest = false;
  private testFrom = 0;
  private lossBefore = 0;
  private packetsBefore = 1;
  private rateBefore = 0;

  private probeRttMinUs = Infinity;
  private raisedProbes = 0;
  private isCompetitionTest = false;

  constructor(
    name: "bbr" | "polite",
    options: { readonly datagramBytes: number; readonly nowUs: number; readonly randomFloat: () => number },
  ) {
    this.name = name;
    this.isPolite = name === "polite";
    this.datagramBytes = options.datagramBytes;
    this.randomFloat = options.randomFloat;
    this.meter = new PathMeter(options.datagramBytes, options.nowUs);
    this.windowBytes = INITIAL_WINDOW_DATAGRAMS * options.datagramBytes;
  }

  get state(): string {
    return this.phase;
  }
  get congestionWindowBytes(): number {
    return this.windowBytes;
  }
  get pacingRateBytesPerSecond(): number {
    return this.pacingRate;
  }
  get bandwidthBytesPerSecond(): number {
    return this.meter.bandwidth;
  }
  /** Share of packets it believes lost at random, for people. */
  get randomLoss(): number {
    return this.random.rate;
  }

  handleSent(nowUs: number, packetNumber: number, bytes: number, bytesInFlight: number): void {
    if (bytesInFlight + bytes > this.windowBytes) this.fullWindowRound = this.meter.roundCount;
    if (this.train.isSent) return;
    this.train.handleSent(nowUs, packetNumber);
    if (this.train.isSent) this.spreadFirstFlight();
  }

  handleLoss(sample: LossSample): void {
    if (sample.isPersistentCongestion) {
      this.restart(sample.nowUs);
      this.windowBytes = MIN_WINDOW_DATAGRAMS * this.datagramBytes;
      return;
    }
    if (this.phase !== "compete") return;
    const { competition, meter, random } = this;
    if (competition.handleLoss(sample.largestLostSentAtUs, meter, random, sample.nowUs)) {
      this.enterProbeRtt(true, sample.nowUs);
    }
  }

  // Rounds tell more than single packets: what was lost by mistake is in the next round's count.
  handleSpuriousLoss(_nowUs: number, _packetNumber: number, _bytes: number, _sentAtUs: number): void {}

  // Samples carry the mark.
  handleAppLimited(_nowUs: number, _bytesInFlight: number): void {}

  handleDatagramSize(bytes: number): void {
    this.datagramBytes = bytes;
    this.meter.datagramBytes = bytes;
    this.windowBytes = Math.max(this.windowBytes, MIN_WINDOW_DATAGRAMS * bytes);
  }

  handlePathChange(nowUs: number): void {
    this.restart(nowUs);
    this.meter.forgetPath(nowUs);
    this.random.reset();
    this.pacingRate = Infinity;
    this.windowBytes = INITIAL_WINDOW_DATAGRAMS * this.datagramBytes;
  }

  /** Back to startup: the bandwidth is unknown. */
  private restart(nowUs: number): void {
    this.meter.forgetBandwidth();
    this.startup.reset();
    this.train.reset();
    this.jumpBytes = 0;
    this.jumpEnd = 0;
    this.observation.cancel();
    this.isTest = false;
    this.isAfterLoss = false;
    this.foreignEvidence = 0;
    this.excessRounds = 0;
    this.achievedRate = 0;
    this.referenceRate = 0;
    this.raisedProbes = 0;
    this.fullWindowRound = -2;
    this.bandwidthAtUp = 0;
    this.enter("startup", STARTUP_PACING_GAIN, nowUs);
  }

  handleAck(sample: AckSample): void {
    const { meter } = this;
    meter.handleAck(sample, this.windowBytes);
    if (sample.ecnCePackets > 0) this.reactToMarks(sample);
    if (meter.isRoundStart) {
      const achieved = meter.deliveryRate / (1 - this.random.rate);
      this.achievedRate += (achieved - this.achievedRate) / 8;
    }
    if (this.observation.handleAck(sample)) this.judgeLoss();
    if (this.phase === "startup" && this.train.handleAck(sample, this.datagramBytes)) this.jump(sample);
    this.updatePhase(sample);
    this.setRates(sample);
  }

  // --- Random loss or congestion -------------------------------------------------------------------

  /** Packets sent below the bandwidth have met their fate. */
  private judgeLoss(): void {
    const { meter, observation, random } = this;
    const rate = observation.lostBytes / observation.totalBytes;
    // Only an empty queue proves that the loss was not somebody's congestion.
    const packets = observation.totalBytes / this.datagramBytes;
    if (meter.isQuiet || rate < random.rate) random.handleQuietLoss(rate * packets, packets);
    if (!this.isTest) return;
    this.isTest = false;
    const halfExcess = Math.max((this.lossBefore - random.rate) / 2, LOSS_THRESHOLD / 2);
    const fall = this.lossBefore - rate;
    if (fall <= halfExcess && meter.isQuiet && packets >= TEST_PACKETS) {
      random.confirm(Math.min(rate, this.lossBefore));
    } else if (fall > Math.max(halfExcess, this.fallByChance(rate, packets)) || !meter.isQuiet) {
      // Loss followed our rate, or others keep the queue full: what arrived is what the path carries.
      this.limitBandwidth(this.rateBefore);
    }
  }

  /** Fall of the loss rate that chance makes between so few packets: two standard errors. */
  private fallByChance(rate: number, packets: number): number {
    const mean = (this.lossBefore * this.packetsBefore + rate * packets) / (this.packetsBefore + packets);
    return 2 * Math.sqrt(mean * (1 - mean) * (1 / this.packetsBefore + 1 / packets));
  }

  private limitBandwidth(rate: number): void {
    this.isAfterLoss = true;
    this.planCruise();
    this.referenceRate = Math.min(this.referenceRate, rate);
    this.meter.limitBandwidth(rate);
  }

  /**
   * A router marked packets because its queue grows: congestion beyond doubt. RFC 9002 §7.3. Answered
   * once a round trip: not for packets sent before the last answer.
   */
  private reactToMarks(sample: AckSample): void {
    const { meter, phase } = this;
    if (sample.largestAckedSentAtUs <= this.markedAtUs) return;
    this.markedAtUs = sample.nowUs;
    if (phase === "startup") {
      this.isAfterLoss = true;
      this.endStartup(sample.nowUs);
    } else if (phase === "compete") {
      if (this.competition.handleMarks(meter, sample.nowUs)) this.enterProbeRtt(true, sample.nowUs);
    } else if (phase === "cruise" || phase === "probe-up" || phase === "probe-hold") {
      const rate = meter.isAppLimited
        ? Math.max(meter.deliveryRate, meter.bandwidth / 2)
        : meter.deliveryRate;
      this.limitBandwidth(rate);
      this.cruiseRate = MARKED_SHARE * Math.min(this.cruiseRate, this.sendRate());
      this.enterProbeDown(sample, false);
    }
  }

  private get hasExcessLoss(): boolean {
    const { meter } = this;
    if (this.isPolite) return meter.lossRate > this.random.likelyAtMost(meter.packets);
    return meter.lossRate > this.random.expectedAtMost(meter.packets) + LOSS_THRESHOLD;
  }

  // --- Phases --------------------------------------------------------------------------------------

  private enter(phase: Phase, pacingGain: number, nowUs: number): void {
    this.phase = phase;
    this.pacingGain = pacingGain;
    this.phaseRound = this.meter.roundCount;
    this.phaseStartUs = nowUs;
  }

  private get roundsInPhase(): number {
    return this.meter.roundCount - this.phaseRound;
  }

  private updatePhase(sample: AckSample): void {
    const { meter, phase } = this;
    const { nowUs } = sample;
    if (phase === "startup") {
      if (this.startup.handleAck(sample, meter, this.pacingRate)) this.endStartup(nowUs);
      return;
    }
    const isDrained = sample.bytesInFlight <= this.cruiseBytes();
    if (phase === "drain" && (isDrained || this.roundsInPhase > DRAIN_ROUNDS)) this.enterCruise(nowUs);
    // Below the bandwidth no longer than it takes: the rest of the round would leave the link idle.
    if (phase === "probe-down" && isDrained && !this.isTest && this.roundsInPhase >= 1)
      this.endProbeDown(sample);
    if (meter.isRoundStart && this.phase === phase) this.updateRound(sample, isDrained);
    const isStale = nowUs - meter.minRttAtUs > MIN_RTT_WINDOW_US;
    if (isStale && this.phase !== "probe-rtt" && this.phase !== "compete") this.enterProbeRtt(false, nowUs);
  }

  private updateRound(sample: AckSample, isDrained: boolean): void {
    const { nowUs } = sample;
    switch (this.phase) {
      case "cruise":
        this.updateCruise(sample);
        break;
      case "probe-up":
        if (this.roundsInPhase >= 1) this.enter("probe-hold", 1, nowUs);
        break;
      case "probe-hold":
        if (this.roundsInPhase >= 1) this.endProbeUp(sample);
        break;
      case "probe-down":
        if (this.roundsInPhase < DOWN_ROUNDS && !(isDrained && this.hasTestSent(sample))) break;
        this.endProbeDown(sample);
        break;
      case "probe-rtt":
        if (this.roundsInPhase >= PROBE_RTT_ROUNDS) this.endProbeRtt(sample);
        break;
      case "compete":
        this.updateCompete(nowUs);
        break;
      default:
    }
  }

  /** Whether enough packets were sent to tell whether loss has fallen. */
  private hasTestSent(sample: AckSample): boolean {
    return !this.isTest || sample.nextPacketNumber - this.testFrom >= TEST_PACKETS;
  }

  private endStartup(nowUs: number): void {
    const randomLoss = this.startup.randomLoss(this.meter.bandwidth);
    if (randomLoss !== undefined) this.random.confirm(randomLoss);
    this.cruiseRate = this.sendRate();
    this.enter("drain", DRAIN_GAIN, nowUs);
  }

  private enterCruise(nowUs: number): void {
    this.planCruise();
    this.cruisePackets = 0;
    this.cruiseLost = 0;
    this.cruisedUs = 0;
    this.enter("cruise", 1, nowUs);
  }

  private planCruise(): void {
    const rounds = this.isAfterLoss ? CRUISE_AFTER_LOSS_ROUNDS : CRUISE_ROUNDS;
    this.cruiseRounds = rounds + Math.floor(this.randomFloat() * CRUISE_RANDOM_ROUNDS);
    this.cruiseUs = this.isAfterLoss
      ? CRUISE_AFTER_LOSS_US + this.randomFloat() * CRUISE_RANDOM_US
      : CRUISE_US;
  }

  private updateCruise(sample: AckSample): void {
    const { meter } = this;
    const { nowUs } = sample;
    if (this.roundsInPhase === 1) {
      // The packets of this round left after ours had drained: what still waits is somebody else's.
      const isForeign = meter.queueUs > meter.standingQueueUs + meter.jitterUs;
      this.foreignEvidence = isForeign ? this.foreignEvidence + 1 : 0;
      meter.handleDrainedRound();
    }
    this.steer(nowUs);
    if (!this.isPolite && this.isYieldingInVain()) {
      this.foreignEvidence = 0;
      if (meter.queueUs > 2 * meter.standingQueueUs) {
        // So long a queue may be our own, on a path that became slower: look before competing.
        this.referenceRate = this.achievedRate;
        this.enterProbeRtt(false, nowUs);
      } else this.enterCompete(sample);
      return;
    }
    if (this.roundsInPhase >= 2 && this.reactToLoss(sample)) return;
    if (this.roundsInPhase < this.cruiseRounds || nowUs - this.phaseStartUs < this.cruiseUs) return;
    if (this.isPolite && meter.queueUs > this.queueTargetUs()) return;
    meter.advanceBandwidth();
    this.bandwidthAtUp = meter.bandwidth;
    this.upStreak = 0;
    this.isAfterLoss = false;
    // A small window needs a few packets more to tell anything.
    const datagrams = Math.max(this.cruiseBytes() / this.datagramBytes, 1);
    const gain = Math.min(Math.max(UP_GAIN, 1 + UP_DATAGRAMS / datagrams), UP_GAIN_MAX);
    this.enter("probe-up", gain, nowUs);
  }

  /** Moves the cruising rate towards the queue it aims at. */
  private steer(nowUs: number): void {
    const { meter } = this;
    const targetUs = this.queueTargetUs();
    // What the queue is off by, as a share of the rate if it shall be gone in a round or two.
    const error = (CRUISE_SPEED * (targetUs - meter.queueUs)) / meter.minRttUs;
    // An empty queue leaves room for more; a short one says that we are there.
    const most = meter.isQuiet ? CRUISE_STEP : Math.min(CRUISE_STEP, error);
    const change = error > 0 ? most : Math.max(-CRUISE_STEP, error);
    // What a polite flow gave up after a loss stays with the others until the next probe.
    if (change < 0 || !this.isPolite || !this.isAfterLoss) this.cruiseRate *= 1 + change;
    if (this.isPolite) this.cruiseRate = Math.max(this.cruiseRate, this.politeFloor());
    this.referenceRate *= Math.exp((this.referenceAtUs - nowUs) / REFERENCE_DECAY_US);
    this.referenceRate = Math.max(this.referenceRate, this.achievedRate);
    this.referenceAtUs = nowUs;
  }

  private queueTargetUs(): number {
    const { meter } = this;
    const datagrams = Math.max((this.cruiseRate * meter.minRttUs) / 1e6 / this.datagramBytes, 4);
    const shareUs = (QUEUE_TARGET * meter.minRttUs) / Math.sqrt(datagrams);
    const targetUs = Math.max(shareUs, QUEUE_TARGET_US, QUEUE_TARGET_DATAGRAMS * meter.datagramUs);
    return (this.isPolite ? POLITE_TARGET * targetUs : targetUs) + meter.jitterUs + meter.luckUs;
  }

  private politeFloor(): number {
    const perRound = (POLITE_FLOOR_DATAGRAMS * this.datagramBytes * 1e6) / this.meter.minRttUs;
    return Math.min(perRound, POLITE_FLOOR_BYTES_PER_SECOND);
  }

  /** Whether we gave way for somebody who does not. */
  private isYieldingInVain(): boolean {
    if (this.foreignEvidence >= FOREIGN_EVIDENCE) return true;
    const isYielding = this.meter.queueUs > this.queueTargetUs();
    return isYielding && Math.max(this.cruiseRate, this.achievedRate) < YIELD_MAX * this.referenceRate;
  }

  /** Looks at the loss of a round of cruising; returns whether that ended it. */
  private reactToLoss(sample: AckSample): boolean {
    const { meter } = this;
    this.cruisePackets += meter.packets;
    this.cruiseLost += meter.lossRate * meter.packets;
    this.cruisedUs += sample.nowUs - meter.startedAtUs;
    if (!this.hasExcessLoss) {
      this.excessRounds = 0;
      return false;
    }
    // A round in which data ran out does not show what the path carries.
    const rate = meter.isAppLimited ? Math.max(meter.deliveryRate, meter.bandwidth / 2) : meter.deliveryRate;
    if (meter.queueUs > meter.standingQueueUs) {
      this.limitBandwidth(rate);
      this.enterProbeDown(sample, false);
      return true;
    }
    if (this.isPolite) {
      this.cruiseRate *= POLITE_LOSS;
      this.isAfterLoss = true;
    } else if (++this.excessRounds < EXCESS_ROUNDS) return false;
    this.enterProbeDown(sample, true);
    this.rateBefore = rate;
    if (meter.packets < SMALL_ROUND_PACKETS) {
      // The rounds that gave rise to the test are the worst ones: all of them tell the truth.
      this.lossBefore = this.cruiseLost / this.cruisePackets;
      this.packetsBefore = this.cruisePackets;
      const bytes = (this.cruisePackets - this.cruiseLost) * this.datagramBytes;
      this.rateBefore = Math.max(rate, (bytes * 1e6) / this.cruisedUs);
    }
    return true;
  }

  /** One round was sent faster, and its packets have come back. */
  private endProbeUp(sample: AckSample): void {
    const { meter } = this;
    if (this.hasExcessLoss) {
      this.enterProbeDown(sample, true);
      return;
    }
    if (meter.bandwidth >= UP_ANSWER * this.bandwidthAtUp && meter.queueUs < meter.standingQueueUs) {
      // There is more: go on, faster each time.
      this.cruiseRate = this.sendRate();
      this.bandwidthAtUp = meter.bandwidth;
      this.upStreak++;
      const gain = Math.min(UP_GAIN + UP_GAIN_STEP * this.upStreak, UP_GAIN_MAX);
      this.enter("probe-up", gain, sample.nowUs);
      return;
    }
    // The pipe took it without a queue: there was room.
    if (meter.isQuiet) this.cruiseRate *= UP_GAIN;
    this.enterProbeDown(sample, false);
  }

  private enterProbeDown(sample: AckSample, isTest: boolean): void {
    const { meter } = this;
    // As deep as the queue to drain; a test deep enough to see whether loss follows our rate.
    const gain = Math.max(DOWN_GAIN, Math.min(DOWN_GAIN_MAX, 1 - meter.queueUs / meter.minRttUs));
    this.enter("probe-down", isTest ? DOWN_GAIN : gain, sample.nowUs);
    // The first packets still meet the queue of what came before.
    this.testFrom = sample.nextPacketNumber + Math.floor(sample.bytesInFlight / this.datagramBytes / 4);
    this.observation.start(this.testFrom);
    this.isTest = isTest;
    this.lossBefore = meter.lossRate;
    this.packetsBefore = Math.max(meter.packets, 1);
    // What went through without loss before a probe goes through after it.
    this.rateBefore = Math.max(meter.deliveryRate, this.bandwidthAtUp);
    this.excessRounds = 0;
  }

  private endProbeDown(sample: AckSample): void {
    this.observation.finishAt(sample.nextPacketNumber);
    this.enterCruise(sample.nowUs);
  }

  private enterProbeRtt(isCompetitionTest: boolean, nowUs: number): void {
    this.isCompetitionTest = isCompetitionTest;
    this.probeRttMinUs = Infinity;
    this.observation.cancel();
    this.isTest = false;
    this.enter("probe-rtt", 1, nowUs);
  }

  private endProbeRtt(sample: AckSample): void {
    const { meter } = this;
    const { nowUs } = sample;
    const leastUs = this.probeRttMinUs === Infinity ? meter.minRttUs : this.probeRttMinUs;
    // The least round trip may have been one packet's luck.
    const noQueueUs = Math.max(TEST_QUEUE * meter.minRttUs, TEST_QUEUE_US) + meter.noiseUs;
    const isRaised = leastUs - meter.minRttUs > noQueueUs;
    if (this.isCompetitionTest) this.competition.handleTested(nowUs);
    this.foreignEvidence = 0;
    this.raisedProbes = isRaised ? this.raisedProbes + 1 : 0;
    if (isRaised && this.raisedProbes < RAISED_PROBES) {
      // Our part of the queue was drained, so somebody else's stands; or the path became longer.
      meter.minRttAtUs = nowUs;
      if (this.isCompetitionTest) this.enter("compete", 1, nowUs);
      else if (this.isPolite) this.enterCruise(nowUs);
      else this.enterCompete(sample);
      return;
    }
    this.raisedProbes = 0;
    meter.setMinRtt(this.isCompetitionTest ? Math.max(leastUs, meter.minRttUs) : leastUs, nowUs);
    if (this.isCompetitionTest) this.leaveCompete(nowUs);
    else this.enterCruise(nowUs);
  }

  // --- Beside others -------------------------------------------------------------------------------

  private enterCompete(sample: AckSample): void {
    // Back to what was held before giving way in vain.
    const heldBytes = (this.referenceRate * sample.smoothedRttUs) / 1e6;
    const windowBytes = Math.max(heldBytes, MIN_WINDOW_DATAGRAMS * this.datagramBytes);
    this.competition.start(windowBytes, this.datagramBytes, sample.nowUs);
    this.meter.maxQueueUs = this.meter.queueUs;
    this.enter("compete", 1, sample.nowUs);
  }

  private updateCompete(nowUs: number): void {
    if (this.roundsInPhase % COMPETE_CYCLE_ROUNDS === 0) this.meter.advanceBandwidth();
    const verdict = this.competition.handleRound(this.meter, this.random, nowUs);
    if (verdict === "leave") this.leaveCompete(nowUs);
    else if (verdict === "test") this.enterProbeRtt(true, nowUs);
  }

  private leaveCompete(nowUs: number): void {
    this.meter.minRttAtUs = nowUs;
    this.cruiseRate = this.sendRate();
    this.referenceRate = this.achievedRate;
    this.enterCruise(nowUs);
  }

  // --- What follows --------------------------------------------------------------------------------

  /** Bytes per second to send so that the bandwidth arrives in spite of random loss. */
  private sendRate(): number {
    return this.meter.bandwidth / (1 - this.random.rate);
  }

  /** Bytes in flight that cruising needs without a queue. */
  private cruiseBytes(): number {
    return (Math.min(this.cruiseRate, this.sendRate()) * this.meter.minRttUs) / 1e6;
  }

  private setRates(sample: AckSample): void {
    const { meter } = this;
    const rate = this.sendRate();
    if (this.phase === "compete") this.setCompetingRates(sample);
    else if (rate === 0 || meter.minRttUs === Infinity) {
      if (this.jumpBytes === 0) this.windowBytes += sample.ackedBytes;
      if (!this.train.isSent) this.pacingRate = Infinity;
      else if (this.train.isOpen) this.spreadFirstFlight();
      else if (sample.largestAcked < this.jumpEnd)
        this.pacingRate = (this.windowBytes * 1e6) / sample.smoothedRttUs;
      else if (sample.hasRttSample)
        this.pacingRate = (STARTUP_PACING_GAIN * this.windowBytes * 1e6) / sample.latestRttUs;
    } else if (this.phase === "startup") this.setStartupRates(sample, rate);
    else if (this.phase === "probe-rtt") {
      if (sample.hasRttSample) this.probeRttMinUs = Math.min(this.probeRttMinUs, sample.latestRttUs);
      this.windowBytes = (PROBE_RTT_CWND_GAIN * rate * meter.minRttUs) / 1e6;
      this.pacingRate = rate;
    } else {
      this.cruiseRate = Math.min(this.cruiseRate, rate);
      // A rate that is draining a queue already must not be taken down twice.
      const base = this.pacingGain < 1 ? Math.max(this.cruiseRate, this.achievedRate) : this.cruiseRate;
      this.pacingRate = this.pacingGain * Math.min(base, rate);
      // Late and lost packets count in flight for longer than a round trip; while a queue stands,
      // nobody can tell them from queued ones.
      const holdUs = Math.max(meter.minRttUs + meter.jitterUs, meter.isQuiet ? meter.dwellUs : 0);
      this.windowBytes = this.holdBytes(rate, holdUs);
    }
    this.windowBytes = Math.max(this.windowBytes, MIN_WINDOW_DATAGRAMS * this.datagramBytes);
  }

  private holdBytes(rate: number, holdUs: number): number {
    return (CWND_GAIN * rate * holdUs) / 1e6 + this.meter.extraAckedBytes + 3 * this.datagramBytes;
  }

  private setStartupRates(sample: AckSample, rate: number): void {
    const { meter } = this;
    if (this.startup.hasQueue) {
      this.pacingRate = STARTUP_CAREFUL_GAIN * rate;
      this.windowBytes = this.holdBytes(rate, meter.minRttUs + meter.jitterUs);
      return;
    }
    // The first burst leaves at once, and what follows waits for what it tells.
    if (!this.train.isSent) {
      this.pacingRate = Infinity;
      return;
    }
    if (this.train.isOpen) {
      this.spreadFirstFlight();
      return;
    }
    // Believed so far, one round at this rate; then the path itself tells more.
    if (sample.largestAcked < this.jumpEnd) {
      this.pacingRate = (this.windowBytes * 1e6) / meter.minRttUs;
      return;
    }
    // As slow start: a sample of the rate lags behind a window that doubles.
    // The first flight after a pause is marked as limited by the application, even if it fills the window.
    const isUsed = !sample.rateIsAppLimited || meter.roundCount - this.fullWindowRound <= 1;
    const isThere = this.train.rate > 0 && this.windowBytes >= this.believedBytes();
    const growth = isThere ? GROWTH_AFTER_JUMP : STARTUP_GROWTH;
    if (isUsed) this.windowBytes += growth * sample.ackedBytes;
    // Signs of a full pipe come a round trip late: until then no more than growth at this speed needs.
    const mostBytes =
      (STARTUP_WINDOW * rate * meter.minRttUs) / 1e6 + INITIAL_WINDOW_DATAGRAMS * this.datagramBytes;
    this.windowBytes = Math.min(this.windowBytes, Math.max(mostBytes, STARTUP_WINDOW * this.jumpBytes));
    const perRound = ((1 + growth) * this.windowBytes * 1e6) / sample.smoothedRttUs;
    this.pacingRate = Math.max((isThere ? STARTUP_CAREFUL_GAIN : STARTUP_PACING_GAIN) * rate, perRound);
  }

  /** Paces what follows the first burst until its fate is known. */
  private spreadFirstFlight(): void {
    const { minRttUs } = this.meter;
    const spanUs = minRttUs === Infinity ? FIRST_FLIGHT_US : Math.max(minRttUs, FIRST_FLIGHT_US);
    this.pacingRate = (this.windowBytes * 1e6) / spanUs;
  }

  /** Bytes in flight that the first burst suggests. */
  private believedBytes(): number {
    return (JUMP_SHARE * this.train.rate * this.meter.minRttUs) / 1e6;
  }

  /** The first burst has told how fast it was carried. */
  private jump(sample: AckSample): void {
    const mostBytes = JUMP_MAX * INITIAL_WINDOW_DATAGRAMS * this.datagramBytes;
    const bytes = Math.min(this.believedBytes(), mostBytes);
    if (bytes <= this.windowBytes) return;
    this.windowBytes = bytes;
    this.jumpBytes = bytes;
    this.jumpEnd = sample.nextPacketNumber;
  }

  private setCompetingRates(sample: AckSample): void {
    const { competition, datagramBytes } = this;
    competition.grow(
      sample.ackedBytes,
      sample.largestAckedSentAtUs,
      sample.priorBytesInFlight,
      datagramBytes,
      sample.nowUs,
      sample.smoothedRttUs,
    );
    this.windowBytes = Math.max(competition.windowBytes, MIN_WINDOW_DATAGRAMS * datagramBytes);
    this.pacingRate = (COMPETE_PACING_GAIN * this.windowBytes * 1e6) / sample.smoothedRttUs;
  }
}
