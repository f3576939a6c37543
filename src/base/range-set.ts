/**
 * A set of whole numbers kept as sorted, disjoint, half-open ranges: acknowledged packets, received
 * bytes, verified chunks. Adding in order costs constant time; anything else a binary search.
 */
import { assert } from "./assert.ts";

/** Sorted disjoint ranges `[start, end)`. Adjacent ranges are merged. */
export class RangeSet {
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];
  private total = 0;

  /** Number of ranges. */
  get rangeCount(): number {
    return this.starts.length;
  }

  /** Number of members. */
  get size(): number {
    return this.total;
  }

  /** Start of range `index`, counted from the lowest. */
  startAt(index: number): number {
    return this.starts[index];
  }

  /** End (exclusive) of range `index`, counted from the lowest. */
  endAt(index: number): number {
    return this.ends[index];
  }

  /** Largest member plus one, or 0 for the empty set. */
  get end(): number {
    return this.ends.length === 0 ? 0 : this.ends[this.ends.length - 1];
  }

  /** Index of the first range whose end is at or behind `value`. */
  private firstEndingAtOrAfter(value: number): number {
    const { ends } = this;
    const last = ends.length - 1;
    if (last < 0 || ends[last] < value) return ends.length;
    let low = 0;
    let high = last;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ends[middle] >= value) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Adds `[start, end)` and returns how many members were new. */
  add(start: number, end: number): number {
    assert(start <= end, "range must not be reversed");
    if (start === end) return 0;
    const { starts, ends } = this;
    const last = ends.length - 1;
    if (last >= 0 && ends[last] === start) {
      // In order: the common case on every hot path.
      ends[last] = end;
      this.total += end - start;
      return end - start;
    }
    if (last < 0 || ends[last] < start) {
      starts.push(start);
      ends.push(end);
      this.total += end - start;
      return end - start;
    }
    const from = this.firstEndingAtOrAfter(start);
    let to = from;
    let covered = 0;
    let mergedStart = start;
    let mergedEnd = end;
    while (to < starts.length && starts[to] <= end) {
      covered += Math.max(0, Math.min(ends[to], end) - Math.max(starts[to], start));
      mergedStart = Math.min(mergedStart, starts[to]);
      mergedEnd = Math.max(mergedEnd, ends[to]);
      to++;
    }
    if (to === from + 1) {
      starts[from] = mergedStart;
      ends[from] = mergedEnd;
    } else {
      starts.splice(from, to - from, mergedStart);
      ends.splice(from, to - from, mergedEnd);
    }
    const added = end - start - covered;
    this.total += added;
    return added;
  }

  /** Removes `[start, end)` and returns how many members went. */
  remove(start: number, end: number): number {
    assert(start <= end, "range must not be reversed");
    if (start === end) return 0;
    const { starts, ends } = this;
    let removed = 0;
    let index = this.firstEndingAtOrAfter(start + 1);
    while (index < starts.length && starts[index] < end) {
      const low = starts[index];
      const high = ends[index];
      removed += Math.min(high, end) - Math.max(low, start);
      if (low < start && high > end) {
        ends[index] = start;
        starts.splice(index + 1, 0, end);
        ends.splice(index + 1, 0, high);
        break;
      }
      if (low < start) {
        ends[index] = start;
        index++;
      } else if (high > end) {
        starts[index] = end;
        break;
      } else {
        starts.splice(index, 1);
        ends.splice(index, 1);
      }
    }
    this.total -= removed;
    return removed;
  }

  /** Whether `value` is a member. */
  has(value: number): boolean {
    const index = this.firstEndingAtOrAfter(value + 1);
    return index < this.starts.length && this.starts[index] <= value;
  }

  /** Whether all of `[start, end)` are members. */
  hasRange(start: number, end: number): boolean {
    if (start >= end) return true;
    const index = this.firstEndingAtOrAfter(start + 1);
    return index < this.starts.length && this.starts[index] <= start && this.ends[index] >= end;
  }

  /** First number at or above `from` that is not a member. */
  nextMissing(from: number): number {
    const index = this.firstEndingAtOrAfter(from + 1);
    return index < this.starts.length && this.starts[index] <= from ? this.ends[index] : from;
  }

  /** First member at or above `from`, or `undefined`. */
  nextPresent(from: number): number | undefined {
    const index = this.firstEndingAtOrAfter(from + 1);
    return index < this.starts.length ? Math.max(this.starts[index], from) : undefined;
  }

  /** Drops the lowest range. */
  dropLowest(): void {
    if (this.starts.length === 0) return;
    this.total -= this.ends[0] - this.starts[0];
    this.starts.shift();
    this.ends.shift();
  }

  /** Empties the set. */
  clear(): void {
    this.starts.length = 0;
    this.ends.length = 0;
    this.total = 0;
  }

  /** The ranges as pairs, lowest first. For tests and messages, not for hot paths. */
  toArray(): [start: number, end: number][] {
    return this.starts.map((start, index) => [start, this.ends[index]]);
  }
}
