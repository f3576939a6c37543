/**
 * What an acknowledgement says that the one before it did not. ACK frames repeat themselves: a range
 * that was known already costs one comparison, however many packets it covers. Pure.
 */
import { ACK_RANGES_PER_FRAME } from "../../base/limits.ts";

/** Remembers the ranges of one acknowledgement. */
export class AckedRanges {
  /** Runs of packet numbers that the latest ACK told of first, highest run first, both ends inclusive. */
  openLows = new Float64Array(2 * ACK_RANGES_PER_FRAME);
  openHighs = new Float64Array(2 * ACK_RANGES_PER_FRAME);
  openCount = 0;
  private readonly known = new Float64Array(2 * ACK_RANGES_PER_FRAME);
  private knownCount = 0;

  /**
   * Takes an ACK: pairs `low, high`, both inclusive, highest first; what is wholly below `lowest` does
   * not matter. Fills the open runs.
   */
  handleAck(ranges: ArrayLike<number>, rangeCount: number, lowest: number): void {
    const { known, knownCount } = this;
    this.openCount = 0;
    let index = 0;
    for (let range = 0; range < rangeCount; range++) {
      const low = ranges[2 * range];
      let high = ranges[2 * range + 1];
      if (high < lowest) break;
      // Both lists descend: walk the known ones down to this range and note what they leave open.
      while (high >= low) {
        while (index < knownCount && known[2 * index] > high) index++;
        const knownLow = index < knownCount ? known[2 * index] : -1;
        const knownHigh = index < knownCount ? known[2 * index + 1] : -1;
        if (knownHigh >= high) {
          high = knownLow - 1;
          continue;
        }
        const openLow = Math.max(low, knownHigh + 1);
        this.open(openLow, high);
        high = openLow - 1;
      }
    }
    this.knownCount = Math.min(rangeCount, ACK_RANGES_PER_FRAME);
    for (let at = 0; at < 2 * this.knownCount; at++) known[at] = ranges[at];
  }

  private open(low: number, high: number): void {
    if (this.openCount === this.openLows.length) this.grow();
    this.openLows[this.openCount] = low;
    this.openHighs[this.openCount] = high;
    this.openCount++;
  }

  /** A caller may hold more ranges than a frame carries. */
  private grow(): void {
    const { openLows, openHighs } = this;
    this.openLows = new Float64Array(2 * openLows.length);
    this.openHighs = new Float64Array(2 * openHighs.length);
    this.openLows.set(openLows);
    this.openHighs.set(openHighs);
  }
}
