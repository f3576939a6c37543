/** Window, pacing and round-trip time over a transfer, in a bounded number of samples. */
import type { GodwitEvent } from "../events/event.ts";

/** What a path was like at one moment of a transfer. */
export interface PathSample {
  /** Since the transfer began, in microseconds. */
  readonly atUs: number;
  readonly smoothedRttUs: number;
  readonly congestionWindowBytes: number;
  /** 0 while nothing is paced: before the first round trip is known. */
  readonly pacingRateBytesPerSecond: number;
  readonly bytesInFlight: number;
}

/** Samples kept: enough for a line of text or a small chart, whatever the length of the transfer. */
const SAMPLES_KEPT = 64;

/** First distance between samples, in microseconds: a second of transfer fills a line. */
const FIRST_DISTANCE_US = 20_000;

/** Collects samples; when there are too many, every other one goes and new ones come half as often. */
export class PathHistory {
  private kept: PathSample[] = [];
  private distanceUs = FIRST_DISTANCE_US;
  private dueUs = 0;

  /** Takes an event `atUs` microseconds after the transfer began. */
  add(event: GodwitEvent, atUs: number): void {
    if (event.type !== "recovery-updated" || atUs < this.dueUs) return;
    if (this.kept.length === SAMPLES_KEPT) {
      this.kept = this.kept.filter((_, i) => i % 2 === 0);
      this.distanceUs *= 2;
    }
    this.dueUs = atUs + this.distanceUs;
    this.kept.push({
      atUs,
      smoothedRttUs: Math.round(event.smoothedRttUs),
      congestionWindowBytes: Math.round(event.congestionWindowBytes),
      pacingRateBytesPerSecond: wholeRate(event.pacingRateBytesPerSecond),
      bytesInFlight: event.bytesInFlight,
    });
  }

  /** At most 64 samples, oldest first. */
  get samples(): readonly PathSample[] {
    return this.kept;
  }
}

/** A rate in whole bytes per second, 0 for one that has no number: JSON has no infinity. */
export function wholeRate(bytesPerSecond: number): number {
  return Number.isFinite(bytesPerSecond) ? Math.round(bytesPerSecond) : 0;
}
