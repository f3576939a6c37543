/**
 * Is loss our own doing? A test sends less for a while and looks whether less is lost. Every drained queue
 * is observed besides: what is lost then is random. Pure. See docs/design/congestion.md.
 */
import type { AckSample } from "./controller.ts";
import type { PathMeter } from "./path-meter.ts";
import { QuietObservation } from "./quiet-observation.ts";
import type { RandomLoss } from "./random-loss.ts";

/** Loss beyond what chance makes of the random loss that counts as excess. BBR §2.4 (BBRLossThresh). */
export const LOSS_THRESHOLD = 0.02;
/** Packets that a test of loss needs to tell anything. */
const TEST_PACKETS = 30;

/** One observation at a time, with or without a test. */
export class LossTest {
  /** Whether the observation is a test. */
  isRunning = false;
  /** What gave rise to it: share of packets lost, of how many, and what was delivered in bytes per second. */
  lossBefore = 0;
  packetsBefore = 1;
  rateBefore = 0;
  private from = 0;
  private readonly observation = new QuietObservation();

  /** Observes packets from `packetNumber` on; a round with the loss to be tested has just ended. */
  start(isTest: boolean, packetNumber: number, meter: PathMeter, rateBefore: number): void {
    this.from = packetNumber;
    this.observation.start(packetNumber);
    this.isRunning = isTest;
    this.lossBefore = meter.lossRate;
    this.packetsBefore = Math.max(meter.packets, 1);
    this.rateBefore = rateBefore;
  }

  /** Whether enough packets were sent to tell whether loss has fallen. */
  hasSent(nextPacketNumber: number): boolean {
    return !this.isRunning || nextPacketNumber - this.from >= TEST_PACKETS;
  }

  /** Packets from this number on do not belong to it. */
  finishAt(packetNumber: number): void {
    this.observation.finishAt(packetNumber);
  }

  /** Drops it. */
  cancel(): void {
    this.observation.cancel();
    this.isRunning = false;
  }

  /**
   * Takes an acknowledgement. Returns whether a test has just shown that the path carries no more than
   * `rateBefore`; `random` learns what an observation tells.
   */
  handleAck(sample: AckSample, meter: PathMeter, random: RandomLoss): boolean {
    const { observation } = this;
    if (!observation.handleAck(sample)) return false;
    const rate = observation.lostBytes / observation.totalBytes;
    // Only an empty queue proves that the loss was not somebody's congestion.
    const packets = observation.totalBytes / meter.datagramBytes;
    if (meter.isQuiet || rate < random.rate) random.handleQuietLoss(rate * packets, packets);
    if (!this.isRunning) return false;
    this.isRunning = false;
    const halfExcess = Math.max((this.lossBefore - random.rate) / 2, LOSS_THRESHOLD / 2);
    const fall = this.lossBefore - rate;
    if (fall <= halfExcess && meter.isQuiet && packets >= TEST_PACKETS) {
      random.confirm(Math.min(rate, this.lossBefore));
      return false;
    }
    // Loss followed our rate, or others keep the queue full: what arrived is what the path carries.
    return fall > Math.max(halfExcess, this.fallByChance(rate, packets)) || !meter.isQuiet;
  }

  /** Fall of the loss rate that chance makes between so few packets: two standard errors. */
  private fallByChance(rate: number, packets: number): number {
    const mean = (this.lossBefore * this.packetsBefore + rate * packets) / (this.packetsBefore + packets);
    return 2 * Math.sqrt(mean * (1 - mean) * (1 / this.packetsBefore + 1 / packets));
  }
}
