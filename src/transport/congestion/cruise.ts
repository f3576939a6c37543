/**
 * Cruising between probes: which rate, how long, towards which queue; and whether we give way for somebody
 * who does not. Pure. See docs/design/congestion.md.
 */
import type { PathMeter } from "./path-meter.ts";

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
/** Most change of the cruising rate in one round. */
const CRUISE_STEP = 0.1;
const CRUISE_SPEED = 1;

/** Times in a row that a queue stands after ours was drained, which tell of another sender. */
const FOREIGN_EVIDENCE = 5;
/** A flow that gave way down to this share of what it had lately, and still meets a queue, competes. */
const YIELD_MAX = 0.7;
/** What it had fades with this time constant, in microseconds: a few growth periods of CUBIC. */
const REFERENCE_DECAY_US = 30_000_000;

/**
 * The default never gives way below so many datagrams a round trip. A round of less tells nothing, and where
 * many share one queue each would go on giving way for the others until it stands still.
 */
const FLOOR_DATAGRAMS = 1;

/** `polite` gives way at this share of the default's queue target... */
const POLITE_TARGET = 0.5;
/** ...but never below two datagrams a round trip, or this many bytes a second where round trips are short. */
const POLITE_FLOOR_DATAGRAMS = 2;
const POLITE_FLOOR_BYTES_PER_SECOND = 50_000;

/** The cruising of one flow. */
export class Cruise {
  /** What cruising sends, in bytes per second; probes are relative to it. */
  rate = 0;
  /** What was sent and either arrived or was lost at random, smoothed over eight rounds. */
  achievedRate = 0;
  /** The largest achieved rate lately, fading. */
  referenceRate = 0;
  /** Whether packets were lost lately: the next probe waits longer. */
  isAfterLoss = false;
  /** Times in a row that a queue stood after ours was drained. */
  foreignEvidence = 0;
  /** Of this cruise but for its first round: packets, packets lost, time in microseconds. */
  packets = 0;
  lostPackets = 0;
  lastedUs = 0;
  private readonly meter: PathMeter;
  private readonly isPolite: boolean;
  private readonly randomFloat: () => number;
  private referenceAtUs = 0;
  private plannedRounds = 0;
  private plannedUs = 0;

  constructor(meter: PathMeter, isPolite: boolean, randomFloat: () => number) {
    this.meter = meter;
    this.isPolite = isPolite;
    this.randomFloat = randomFloat;
  }

  /** Forgets what the path carried. */
  reset(): void {
    this.isAfterLoss = false;
    this.foreignEvidence = 0;
    this.achievedRate = 0;
    this.referenceRate = 0;
  }

  /** A cruise begins. */
  start(): void {
    this.plan();
    this.packets = 0;
    this.lostPackets = 0;
    this.lastedUs = 0;
  }

  private plan(): void {
    const rounds = this.isAfterLoss ? CRUISE_AFTER_LOSS_ROUNDS : CRUISE_ROUNDS;
    this.plannedRounds = rounds + Math.floor(this.randomFloat() * CRUISE_RANDOM_ROUNDS);
    this.plannedUs = this.isAfterLoss
      ? CRUISE_AFTER_LOSS_US + this.randomFloat() * CRUISE_RANDOM_US
      : CRUISE_US;
  }

  /** Whether a cruise of so many rounds and microseconds has lasted long enough for a probe. */
  isOver(rounds: number, lastedUs: number): boolean {
    if (rounds < this.plannedRounds || lastedUs < this.plannedUs) return false;
    return !this.isPolite || this.meter.queueUs <= this.queueTargetUs();
  }

  /** Congestion: the path carries no more than `rate`, in bytes per second. */
  limit(rate: number): void {
    this.isAfterLoss = true;
    this.plan();
    this.referenceRate = Math.min(this.referenceRate, rate);
  }

  /** A round ended, in whatever phase, in which so much was sent and arrived or was lost at random. */
  handleAchieved(rate: number): void {
    this.achievedRate += (rate - this.achievedRate) / 8;
  }

  /** The packets of this round left after ours had drained: what still waits is somebody else's. */
  handleDrainedRound(): void {
    const { meter } = this;
    const isForeign = meter.queueUs > meter.standingQueueUs + meter.jitterUs + meter.luckUs;
    this.foreignEvidence = isForeign ? this.foreignEvidence + 1 : 0;
    meter.handleDrainedRound();
  }

  /** A round of cruising ended: adds it to what this cruise has lost. */
  countLoss(nowUs: number): void {
    const { meter } = this;
    this.packets += meter.packets;
    this.lostPackets += meter.lossRate * meter.packets;
    this.lastedUs += nowUs - meter.startedAtUs;
  }

  /** Moves the rate towards the queue it aims at. */
  steer(nowUs: number): void {
    const { meter } = this;
    const targetUs = this.queueTargetUs();
    // What the queue is off by, as a share of the rate if it shall be gone in a round or two.
    const error = (CRUISE_SPEED * (targetUs - meter.queueUs)) / meter.minRttUs;
    // An empty queue leaves room for more; a short one says that we are there.
    const most = meter.isQuiet ? CRUISE_STEP : Math.min(CRUISE_STEP, error);
    const change = error > 0 ? most : Math.max(-CRUISE_STEP, error);
    // What a polite flow gave up after a loss stays with the others until the next probe.
    if (change < 0 || !this.isPolite || !this.isAfterLoss) this.rate *= 1 + change;
    this.rate = Math.max(this.rate, this.isPolite ? this.politeFloor() : this.floor());
    this.referenceRate *= Math.exp((this.referenceAtUs - nowUs) / REFERENCE_DECAY_US);
    this.referenceRate = Math.max(this.referenceRate, this.achievedRate);
    this.referenceAtUs = nowUs;
  }

  private queueTargetUs(): number {
    const { meter } = this;
    const datagrams = Math.max((this.rate * meter.minRttUs) / 1e6 / meter.datagramBytes, 4);
    const shareUs = (QUEUE_TARGET * meter.minRttUs) / Math.sqrt(datagrams);
    const targetUs = Math.max(shareUs, QUEUE_TARGET_US, QUEUE_TARGET_DATAGRAMS * meter.datagramUs);
    return (this.isPolite ? POLITE_TARGET * targetUs : targetUs) + meter.jitterUs + meter.luckUs;
  }

  private floor(): number {
    const { meter } = this;
    return (FLOOR_DATAGRAMS * meter.datagramBytes * 1e6) / (meter.minRttUs + meter.queueUs);
  }

  private politeFloor(): number {
    const { meter } = this;
    const perRound = (POLITE_FLOOR_DATAGRAMS * meter.datagramBytes * 1e6) / meter.minRttUs;
    return Math.min(perRound, POLITE_FLOOR_BYTES_PER_SECOND);
  }

  /** Whether we gave way for somebody who does not. */
  isYieldingInVain(): boolean {
    if (this.foreignEvidence >= FOREIGN_EVIDENCE) return true;
    const isYielding = this.meter.queueUs > this.queueTargetUs();
    return isYielding && Math.max(this.rate, this.achievedRate) < YIELD_MAX * this.referenceRate;
  }
}
