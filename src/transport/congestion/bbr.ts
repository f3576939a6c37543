/**
 * The default controller: a model of the path (bandwidth, round trip, random loss) in the class of
 * BBRv3 that tells random loss from congestion; and `polite`, the same one giving way to everybody.
 * Pure. Design and figures: docs/design/congestion.md.
 *
 * Sources: draft-ietf-ccwg-bbr (states, filters, gains). Departures: loss that does not depend on our
 * own rate is compensated for instead of reacted to; a standing queue is drained; beside a flow that
 * keeps the queue full it turns into CUBIC. The design note argues for each.
 */
import { BandwidthProbe, downGain, UP_GAIN } from "./bandwidth-probe.ts";
import { Competition } from "./competition.ts";
import type {
  AckSample,
  CongestionController,
  CongestionControllerFactory,
  LossSample,
} from "./controller.ts";
import { Cruise } from "./cruise.ts";
import { LOSS_THRESHOLD, LossTest } from "./loss-test.ts";
import { PathMeter } from "./path-meter.ts";
import { RandomLoss } from "./random-loss.ts";
import { RoundTripTest } from "./round-trip-test.ts";
import type { SendingLimits } from "./sending-limits.ts";
import { Startup } from "./startup.ts";
import { INITIAL_WINDOW_DATAGRAMS, STARTUP_PACING_GAIN, StartupWindow } from "./startup-window.ts";

type Phase =
  | "startup"
  | "drain"
  | "cruise"
  | "probe-up"
  | "probe-hold"
  | "probe-down"
  | "probe-rtt"
  | "compete";

/** Windows never fall below. BBR §2.7 (BBRMinPipeCwnd). */
const MIN_WINDOW_DATAGRAMS = 4;
/** Window in round trips of data: room for late packets and acknowledgements. BBR §2.4 (BBRDefaultCwndGain). */
const CWND_GAIN = 2;

const DRAIN_GAIN = 0.5;
const DRAIN_ROUNDS = 4;
/** Rounds of probing down at most. */
const DOWN_ROUNDS = 4;

/** Rounds of competing in which a bandwidth sample counts. */
const COMPETE_CYCLE_ROUNDS = 8;
/** Measuring the least round trip anew: rounds, and the window in round trips of data. BBR §2.4 (BBRProbeRTTCwndGain). */
const PROBE_RTT_ROUNDS = 2;
const PROBE_RTT_CWND_GAIN = 0.5;

/** Rounds of fewer packets do not tell by themselves how much is lost. */
const SMALL_ROUND_PACKETS = 100;
/** Rounds with excess loss and without a queue before they are looked into: one may be a burst on the air. */
const EXCESS_ROUNDS = 2;

/**
 * A flow whose packets are marked CE gives way to this share of its rate, and drains its queue. RFC 8511
 * §4 allows gentler answers to marks than to losses: they come while the queue is still short.
 */
const MARKED_SHARE = 0.85;

/** `polite` gives way to this share of its rate in a round with excess loss. */
const POLITE_LOSS = 0.7;

/** Makes the default controller. */
export const bbr: CongestionControllerFactory = (options) => new Bbr("bbr", options);

/** Makes a scavenger: fills what others leave, gives way when a queue forms. */
export const polite: CongestionControllerFactory = (options) => new Bbr("polite", options);

class Bbr implements CongestionController {
  readonly name: "bbr" | "polite";
  readonly slowStartThresholdBytes = Infinity;
  private readonly isPolite: boolean;
  private readonly limits: SendingLimits;
  private readonly meter: PathMeter;
  private readonly random = new RandomLoss();
  private readonly startup = new Startup();
  private readonly startupWindow: StartupWindow;
  private readonly cruise: Cruise;
  private readonly probe = new BandwidthProbe();
  private readonly lossTest = new LossTest();
  private readonly roundTripTest = new RoundTripTest();
  private readonly competition = new Competition();

  private phase: Phase = "startup";
  private phaseRound = 0;
  private phaseStartUs = 0;
  private pacingGain = STARTUP_PACING_GAIN;

  /** When marks were answered last. */
  private markedAtUs = -Infinity;
  private excessRounds = 0;

  constructor(
    name: "bbr" | "polite",
    options: { readonly datagramBytes: number; readonly nowUs: number; readonly randomFloat: () => number },
  ) {
    const { datagramBytes, nowUs, randomFloat } = options;
    this.name = name;
    this.isPolite = name === "polite";
    this.limits = { windowBytes: INITIAL_WINDOW_DATAGRAMS * datagramBytes, pacingRate: Infinity };
    this.meter = new PathMeter(datagramBytes, nowUs);
    this.startupWindow = new StartupWindow(this.limits, this.meter, this.startup);
    this.cruise = new Cruise(this.meter, this.isPolite, randomFloat);
  }

  get state(): string {
    return this.phase;
  }
  get congestionWindowBytes(): number {
    return this.limits.windowBytes;
  }
  get pacingRateBytesPerSecond(): number {
    return this.limits.pacingRate;
  }
  get bandwidthBytesPerSecond(): number {
    return this.meter.bandwidth;
  }
  /** Share of packets it believes lost at random, for people. */
  get randomLoss(): number {
    return this.random.rate;
  }

  handleSent(nowUs: number, packetNumber: number, bytes: number, bytesInFlight: number): void {
    this.startupWindow.handleSent(nowUs, packetNumber, bytes, bytesInFlight);
  }

  handleLoss(sample: LossSample): void {
    if (sample.isPersistentCongestion) {
      this.restart(sample.nowUs);
      this.limits.windowBytes = this.leastWindowBytes;
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
    this.meter.datagramBytes = bytes;
    this.limits.windowBytes = Math.max(this.limits.windowBytes, this.leastWindowBytes);
  }

  handlePathChange(nowUs: number): void {
    this.restart(nowUs);
    this.meter.forgetPath(nowUs);
    this.random.reset();
    this.limits.pacingRate = Infinity;
    this.limits.windowBytes = INITIAL_WINDOW_DATAGRAMS * this.meter.datagramBytes;
  }

  private get leastWindowBytes(): number {
    return MIN_WINDOW_DATAGRAMS * this.meter.datagramBytes;
  }

  /** Back to startup: the bandwidth is unknown. */
  private restart(nowUs: number): void {
    this.meter.forgetBandwidth();
    this.startup.reset();
    this.startupWindow.reset();
    this.lossTest.cancel();
    this.cruise.reset();
    this.excessRounds = 0;
    this.roundTripTest.reset();
    this.probe.reset();
    this.enter("startup", STARTUP_PACING_GAIN, nowUs);
  }

  handleAck(sample: AckSample): void {
    const { meter, random, lossTest } = this;
    meter.handleAck(sample, this.limits.windowBytes);
    if (sample.ecnCePackets > 0) this.reactToMarks(sample);
    if (meter.isRoundStart) this.cruise.handleAchieved(meter.deliveryRate / (1 - random.rate));
    if (lossTest.handleAck(sample, meter, random)) this.limitBandwidth(lossTest.rateBefore);
    if (this.phase === "startup") this.startupWindow.handleAck(sample);
    this.updatePhase(sample);
    this.setRates(sample);
  }

  // --- Random loss or congestion -------------------------------------------------------------------

  private limitBandwidth(rate: number): void {
    this.cruise.limit(rate);
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
      this.cruise.isAfterLoss = true;
      this.endStartup(sample.nowUs);
    } else if (phase === "compete") {
      if (this.competition.handleMarks(meter, sample.nowUs)) this.enterProbeRtt(true, sample.nowUs);
    } else if (phase === "cruise" || phase === "probe-up" || phase === "probe-hold") {
      const rate = meter.isAppLimited
        ? Math.max(meter.deliveryRate, meter.bandwidth / 2)
        : meter.deliveryRate;
      this.limitBandwidth(rate);
      this.cruise.rate = MARKED_SHARE * Math.min(this.cruise.rate, this.sendRate());
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
      if (this.startup.handleAck(sample, meter, this.limits.pacingRate)) this.endStartup(nowUs);
      return;
    }
    const isDrained = sample.bytesInFlight <= this.cruiseBytes();
    if (phase === "drain" && (isDrained || this.roundsInPhase > DRAIN_ROUNDS)) this.enterCruise(nowUs);
    // Below the bandwidth no longer than it takes: the rest of the round would leave the link idle.
    if (phase === "probe-down" && isDrained && !this.lossTest.isRunning && this.roundsInPhase >= 1)
      this.endProbeDown(sample);
    if (meter.isRoundStart && this.phase === phase) this.updateRound(sample, isDrained);
    if (this.phase === "probe-rtt" || this.phase === "compete") return;
    if (this.roundTripTest.isDue(meter, nowUs)) this.enterProbeRtt(false, nowUs);
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
        if (
          this.roundsInPhase < DOWN_ROUNDS &&
          !(isDrained && this.lossTest.hasSent(sample.nextPacketNumber))
        )
          break;
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

  private endStartup(nowUs: number): void {
    const randomLoss = this.startup.randomLoss(this.meter.bandwidth);
    if (randomLoss !== undefined) this.random.confirm(randomLoss);
    this.cruise.rate = this.sendRate();
    this.enter("drain", DRAIN_GAIN, nowUs);
  }

  private enterCruise(nowUs: number): void {
    this.cruise.start();
    this.enter("cruise", 1, nowUs);
  }

  private updateCruise(sample: AckSample): void {
    const { meter, cruise } = this;
    const { nowUs } = sample;
    if (this.roundsInPhase === 1) cruise.handleDrainedRound();
    cruise.steer(nowUs);
    if (!this.isPolite && cruise.isYieldingInVain()) {
      cruise.foreignEvidence = 0;
      if (meter.queueUs > 2 * meter.standingQueueUs) {
        // So long a queue may be our own, on a path that became slower: look before competing.
        cruise.referenceRate = cruise.achievedRate;
        this.enterProbeRtt(false, nowUs);
      } else this.enterCompete(sample);
      return;
    }
    if (this.roundsInPhase >= 2 && this.reactToLoss(sample)) return;
    if (!cruise.isOver(this.roundsInPhase, nowUs - this.phaseStartUs)) return;
    meter.advanceBandwidth();
    cruise.isAfterLoss = false;
    this.enter("probe-up", this.probe.start(meter, this.cruiseBytes()), nowUs);
  }

  /** Looks at the loss of a round of cruising; returns whether that ended it. */
  private reactToLoss(sample: AckSample): boolean {
    const { meter, cruise, lossTest } = this;
    cruise.countLoss(sample.nowUs);
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
      cruise.rate *= POLITE_LOSS;
      cruise.isAfterLoss = true;
    } else if (++this.excessRounds < EXCESS_ROUNDS) return false;
    this.enterProbeDown(sample, true);
    lossTest.rateBefore = rate;
    if (meter.packets < SMALL_ROUND_PACKETS) {
      // The rounds that gave rise to the test are the worst ones: all of them tell the truth.
      lossTest.lossBefore = cruise.lostPackets / cruise.packets;
      lossTest.packetsBefore = cruise.packets;
      const bytes = (cruise.packets - cruise.lostPackets) * meter.datagramBytes;
      lossTest.rateBefore = Math.max(rate, (bytes * 1e6) / cruise.lastedUs);
    }
    return true;
  }

  /** One round was sent faster, and its packets have come back. */
  private endProbeUp(sample: AckSample): void {
    const { meter, cruise, probe } = this;
    if (this.hasExcessLoss) {
      this.enterProbeDown(sample, true);
      return;
    }
    if (probe.isAnswered(meter)) {
      cruise.rate = this.sendRate();
      this.enter("probe-up", probe.goOn(meter), sample.nowUs);
      return;
    }
    // The pipe took it without a queue: there was room.
    if (meter.isQuiet) cruise.rate *= UP_GAIN;
    this.enterProbeDown(sample, false);
  }

  private enterProbeDown(sample: AckSample, isTest: boolean): void {
    const { meter } = this;
    this.enter("probe-down", downGain(meter, isTest), sample.nowUs);
    // The first packets still meet the queue of what came before.
    const from = sample.nextPacketNumber + Math.floor(sample.bytesInFlight / meter.datagramBytes / 4);
    // What went through without loss before a probe goes through after it.
    this.lossTest.start(isTest, from, meter, Math.max(meter.deliveryRate, this.probe.bandwidthBefore));
    this.excessRounds = 0;
  }

  private endProbeDown(sample: AckSample): void {
    this.lossTest.finishAt(sample.nextPacketNumber);
    this.enterCruise(sample.nowUs);
  }

  private enterProbeRtt(isCompetitionTest: boolean, nowUs: number): void {
    this.roundTripTest.start(isCompetitionTest);
    this.lossTest.cancel();
    this.enter("probe-rtt", 1, nowUs);
  }

  private endProbeRtt(sample: AckSample): void {
    const { roundTripTest } = this;
    const { isOfCompetition } = roundTripTest;
    const { nowUs } = sample;
    if (isOfCompetition) this.competition.handleTested(nowUs);
    this.cruise.foreignEvidence = 0;
    const isForeign = roundTripTest.finish(this.meter, nowUs);
    if (!isForeign) {
      if (isOfCompetition) this.leaveCompete(nowUs);
      else this.enterCruise(nowUs);
    } else if (isOfCompetition) this.enter("compete", 1, nowUs);
    else if (this.isPolite) this.enterCruise(nowUs);
    else this.enterCompete(sample);
  }

  // --- Beside others -------------------------------------------------------------------------------

  private enterCompete(sample: AckSample): void {
    // Back to what was held before giving way in vain.
    const heldBytes = (this.cruise.referenceRate * sample.smoothedRttUs) / 1e6;
    const windowBytes = Math.max(heldBytes, this.leastWindowBytes);
    this.competition.start(windowBytes, this.meter.datagramBytes, sample.nowUs);
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
    this.cruise.rate = this.sendRate();
    this.cruise.referenceRate = this.cruise.achievedRate;
    this.enterCruise(nowUs);
  }

  // --- What follows --------------------------------------------------------------------------------

  /** Bytes per second to send so that the bandwidth arrives in spite of random loss. */
  private sendRate(): number {
    return this.meter.bandwidth / (1 - this.random.rate);
  }

  /** Bytes in flight that cruising needs without a queue. */
  private cruiseBytes(): number {
    return (Math.min(this.cruise.rate, this.sendRate()) * this.meter.minRttUs) / 1e6;
  }

  private setRates(sample: AckSample): void {
    const { limits, meter, cruise } = this;
    const rate = this.sendRate();
    if (this.phase === "compete")
      this.competition.setRates(sample, limits, meter.datagramBytes, this.leastWindowBytes);
    else if (rate === 0 || meter.minRttUs === Infinity) this.startupWindow.setFirstRates(sample);
    else if (this.phase === "startup")
      this.startupWindow.setRates(sample, rate, this.holdBytes(rate, meter.minRttUs + meter.jitterUs));
    else if (this.phase === "probe-rtt") {
      if (sample.hasRttSample) this.roundTripTest.handleSample(sample.latestRttUs);
      limits.windowBytes = (PROBE_RTT_CWND_GAIN * rate * meter.minRttUs) / 1e6;
      limits.pacingRate = rate;
    } else {
      cruise.rate = Math.min(cruise.rate, rate);
      // A rate that is draining a queue already must not be taken down twice.
      const base = this.pacingGain < 1 ? Math.max(cruise.rate, cruise.achievedRate) : cruise.rate;
      limits.pacingRate = this.pacingGain * Math.min(base, rate);
      // Late and lost packets count in flight for longer than a round trip; while a queue stands,
      // nobody can tell them from queued ones.
      const holdUs = Math.max(meter.minRttUs + meter.jitterUs, meter.isQuiet ? meter.dwellUs : 0);
      limits.windowBytes = this.holdBytes(rate, holdUs);
    }
    limits.windowBytes = Math.max(limits.windowBytes, this.leastWindowBytes);
  }

  private holdBytes(rate: number, holdUs: number): number {
    return (CWND_GAIN * rate * holdUs) / 1e6 + this.meter.extraAckedBytes + 3 * this.meter.datagramBytes;
  }
}
