/** What a group knows about one receiver while it runs. */
import type { ReceiverEnd, StopCause } from "./verdict.ts";
import { RATE_WINDOW_US } from "./policy.ts";

/** Where a receiver stands. */
export type ReceiverPhase =
  /** It has no lane yet, or waits for another attempt. */
  "waiting" | "dialling" | "moving" | "ended";

/** One receiver of a group. */
export class ReceiverState {
  readonly index: number;
  phase: ReceiverPhase = "waiting";
  /** Lanes opened for it. */
  attempts = 0;
  /** Attempts in a row in which nothing new was verified. */
  failures = 0;
  wasConnected = false;
  isDemoted = false;
  /** Not before this time. */
  readyAtUs = 0;
  /** Bytes verified at the receiver, as it says, those from before included. */
  verifiedBytes = 0;
  resumedBytes = 0;
  /** Bytes to verify; `undefined` until they are known. */
  totalBytes: number | undefined;
  /** Verified bytes when the lane was opened. */
  verifiedBefore = 0;
  /** Set while a lane that was told to end has not ended yet. */
  stopCause: StopCause | undefined;
  end: ReceiverEnd | undefined;
  private readonly samples: { readonly atUs: number; readonly bytes: number }[] = [];

  constructor(index: number) {
    this.index = index;
  }

  /** Whether it occupies a lane. */
  get isActive(): boolean {
    return this.phase === "dialling" || this.phase === "moving";
  }

  /** Bytes still to be verified; infinite while nothing is known. */
  get remainingBytes(): number {
    return this.totalBytes === undefined ? Number.POSITIVE_INFINITY : this.totalBytes - this.verifiedBytes;
  }

  /** A lane is open from `nowUs` on: its rate is judged anew. */
  beginRate(nowUs: number): void {
    this.samples.length = 0;
    this.samples.push({ atUs: nowUs, bytes: this.verifiedBytes });
  }

  /** Notes how far it is. */
  sample(nowUs: number): void {
    const { samples } = this;
    samples.push({ atUs: nowUs, bytes: this.verifiedBytes });
    while (samples.length > 2 && samples[1].atUs <= nowUs - RATE_WINDOW_US) samples.shift();
  }

  /** Verified bytes per second over the last ten seconds; `undefined` while the lane is younger. */
  rate(nowUs: number): number | undefined {
    const [first] = this.samples;
    if (first === undefined || first.atUs > nowUs - RATE_WINDOW_US) return undefined;
    return ((this.verifiedBytes - first.bytes) * 1e6) / (nowUs - first.atUs);
  }
}

/**
 * The order in which waiting receivers get a lane, smallest first: the one with the least left of
 * those that have begun, then those never tried in the order they were named, then those that never
 * answered, and laggards last. Receivers finish early, and a dead one never stands before a live one.
 */
export function compareWaiting(a: ReceiverState, b: ReceiverState): number {
  const rank = rankOf(a) - rankOf(b);
  if (rank !== 0) return rank;
  const remaining = rankOf(a) === 0 ? a.remainingBytes - b.remainingBytes : 0;
  return remaining !== 0 && !Number.isNaN(remaining) ? remaining : a.index - b.index;
}

function rankOf(state: ReceiverState): number {
  if (state.isDemoted) return 3;
  if (state.wasConnected) return 0;
  return state.attempts === 0 ? 1 : 2;
}
