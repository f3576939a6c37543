/** The rules a group is run by. docs/design/group.md says what each means. */
import { GodwitError } from "../base/errors.ts";

/** Lanes that move at once unless told otherwise: what 256 MiB of memory are measured for. */
export const MAX_LANES = 64;

/** Attempts after a failed one that may succeed later, unless told otherwise. */
export const RETRIES = 2;

/** Receivers of one group: the list is held in memory and shown by name. */
export const GROUP_RECEIVERS = 10_000;

/** Pause before the first new attempt, doubled for each further one, in microseconds. */
export const RETRY_PAUSE_US = 1_000_000;

/** Longest pause between attempts, in microseconds. */
export const RETRY_PAUSE_MAX_US = 30_000_000;

/** Span over which the rate of a lane is judged, in microseconds: longer than a path needs to recover from a burst of loss. */
export const RATE_WINDOW_US = 10_000_000;

/** The rules of one group. */
export interface GroupPolicy {
  /** Most lanes at once, dialling ones included. */
  readonly maxLanes: number;
  /** Attempts after a failed one in which nothing new was verified. */
  readonly retries: number;
  /** Complete receivers that are enough; `undefined` for all. */
  readonly quorum: number | undefined;
  /** Time after the start at which lanes that are not done are ended. */
  readonly deadlineUs: number | undefined;
  /** Verified bytes per second below which a lane is a laggard. */
  readonly minRateBytesPerSecond: number | undefined;
  /** What happens to laggards: end them, or let others go first. */
  readonly laggards: "drop" | "demote";
}

/**
 * The number of receivers that `N` or `P%` asks for, of `receiverCount`.
 *
 * @throws GodwitError USAGE when it is not at least 1 and at most all.
 */
export function quorumOf(text: string, receiverCount: number): number {
  const match = /^(\d{1,6})(%?)$/.exec(text.trim());
  if (match !== null) {
    const value = Number(match[1]);
    const count = match[2] === "%" ? Math.ceil((receiverCount * value) / 100) : value;
    if (value > 0 && count <= receiverCount) return count;
  }
  throw new GodwitError(
    "USAGE",
    `a quorum is 1 to ${receiverCount} receivers, or 1% to 100%, not "${text.slice(0, 100)}"`,
  );
}
