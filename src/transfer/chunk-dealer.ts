/**
 * Deals the chunks of shared sources out to lanes whose receivers exchange them: each chunk is sent by
 * the lane that first has room for it, so that a fast lane sends more of them and none is sent twice.
 */
import type { SourceFile } from "./chunk-supply.ts";
import { RangeSet } from "../base/range-set.ts";

/** A chunk on its way to its first receiver is not sent to others before this, in microseconds. */
const TRANSIT_LEAST_US = 3_000_000;

/** Times the usual duration that a chunk may be on its way before others get it too. */
const TRANSIT_TIMES = 2;

/** Weight of a new duration in the usual one. */
const GAIN = 1 / 8;

/** A chunk on its way to the receiver it was dealt to. */
interface Transit {
  readonly lane: object;
  readonly sinceUs: number;
}

/** What was dealt of one source. */
class Deal {
  readonly dealt = new RangeSet();
  readonly transits = new Map<number, Transit>();
}

/** Which chunks were dealt, of all sources of a group. */
export class ChunkDealer {
  private readonly deals = new Map<SourceFile, Deal>();
  /** How long a chunk usually takes from being dealt to being there; 0 before the first. */
  private usualUs = 0;
  /** The time, told by each lane in each turn. */
  nowUs = 0;
  /** Bytes of chunks that a lane was given to send. */
  dealtBytes = 0;
  /** Bytes of chunks that were sent to a further receiver, because no other gave them to it. */
  repeatedBytes = 0;

  /** Whether a chunk is some lane's. */
  isDealt(source: SourceFile, index: number): boolean {
    return this.deals.get(source)?.dealt.has(index) === true;
  }

  /** A lane takes a chunk that is nobody's. */
  deal(source: SourceFile, index: number, lengthBytes: number, lane: object): void {
    let deal = this.deals.get(source);
    if (deal === undefined) this.deals.set(source, (deal = new Deal()));
    if (deal.dealt.add(index, index + 1) > 0) this.dealtBytes += lengthBytes;
    deal.transits.set(index, { lane, sinceUs: this.nowUs });
  }

  /** The receiver of a lane has all of a chunk; nothing happens for those that were not dealt to it. */
  handleDelivered(source: SourceFile, index: number, lane: object): void {
    const transits = this.deals.get(source)?.transits;
    const transit = transits?.get(index);
    if (transit?.lane !== lane) return;
    transits?.delete(index);
    const tookUs = this.nowUs - transit.sinceUs;
    this.usualUs = this.usualUs === 0 ? tookUs : this.usualUs + GAIN * (tookUs - this.usualUs);
  }

  /** A lane sends nothing more of a source. */
  handleLaneOver(source: SourceFile, lane: object): void {
    const transits = this.deals.get(source)?.transits;
    if (transits === undefined) return;
    for (const [index, transit] of transits) if (transit.lane === lane) transits.delete(index);
  }

  /**
   * Whether a chunk may be sent to a receiver that it was not dealt to: the one that it was dealt to
   * has it, is gone, or takes much longer for it than is usual.
   */
  mayRepeat(source: SourceFile, index: number): boolean {
    const transit = this.deals.get(source)?.transits.get(index);
    if (transit === undefined) return true;
    return this.nowUs - transit.sinceUs > Math.max(TRANSIT_LEAST_US, TRANSIT_TIMES * this.usualUs);
  }
}
