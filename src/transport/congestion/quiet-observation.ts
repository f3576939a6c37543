/**
 * The fate of packets sent between two packet numbers, while the sender kept below the bandwidth. Pure.
 */
import type { AckSample } from "./controller.ts";

/** One observation at a time. */
export class QuietObservation {
  /** Of the observation just finished: packets' bytes lost, and lost and delivered together. */
  lostBytes = 0;
  totalBytes = 0;
  private from = Infinity;
  private to = Infinity;
  private deliveredAtStart = -1;
  private lostAtStart = 0;

  /** Observes packets from this number on; a running observation is dropped. */
  start(packetNumber: number): void {
    this.from = packetNumber;
    this.to = Infinity;
    this.deliveredAtStart = -1;
  }

  /** Packets from this number on do not belong to it. */
  finishAt(packetNumber: number): void {
    this.to = packetNumber;
  }

  /** Drops it. */
  cancel(): void {
    this.from = Infinity;
    this.to = Infinity;
    this.deliveredAtStart = -1;
  }

  /** Takes an acknowledgement; returns whether an observation finished just now. */
  handleAck(sample: AckSample): boolean {
    if (this.deliveredAtStart < 0) {
      if (sample.largestAcked < this.from) return false;
      this.deliveredAtStart = sample.totalDeliveredBytes;
      this.lostAtStart = sample.totalLostBytes;
    }
    if (sample.largestAcked < this.to) return false;
    this.lostBytes = Math.max(0, sample.totalLostBytes - this.lostAtStart);
    this.totalBytes = sample.totalDeliveredBytes - this.deliveredAtStart + this.lostBytes;
    this.cancel();
    return this.totalBytes > 0;
  }
}
