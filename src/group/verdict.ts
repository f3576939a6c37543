/** What became of each receiver of a group, and the verdict over all of them. docs/design/group.md §4. */
import type { ErrorCode } from "../base/errors.ts";
import { ERRORS } from "../base/errors.ts";
import type { TransferOutcome } from "../transfer/tally.ts";

/** The end of one receiver, in a word. */
export type ReceiverVerdict =
  /** Everything verified, flushed and named. */
  | "verified"
  /** The same, and a part or all of it was there from before. */
  | "resumed"
  /** Some entries failed, the rest is complete. */
  | "partial"
  /** It answered, and does not take it: trust, policy, protocol or too busy. */
  | "refused"
  /** It never answered. */
  | "unreachable"
  /** It was there, then silent, too slow, or not done at the deadline. */
  | "timed-out"
  /** Its disk, or the source, failed. */
  | "failed"
  /** It was ended from here: enough others were done, or the user interrupted. */
  | "stopped";

/** Why a lane was ended from here. */
export type StopCause = "deadline" | "quorum" | "too-slow" | "demoted" | "cancelled";

/** How one receiver ended. */
export interface ReceiverEnd {
  readonly verdict: ReceiverVerdict;
  /** `undefined` when everything is complete. */
  readonly code: ErrorCode | undefined;
  /** One sentence for a person; `""` when everything is complete. */
  readonly text: string;
  /** Of the last attempt; `undefined` when no lane was ever open. */
  readonly outcome: TransferOutcome | undefined;
}

/** Whether a receiver that ended so has everything. */
export function isComplete(verdict: ReceiverVerdict): boolean {
  return verdict === "verified" || verdict === "resumed";
}

/** The verdict on a receiver whose last attempt ended with `code`. */
export function verdictOf(
  code: ErrorCode | undefined,
  resumedBytes: number,
  wasConnected: boolean,
  stopped: StopCause | undefined,
): ReceiverVerdict {
  if (code === undefined) return resumedBytes > 0 ? "resumed" : "verified";
  if (stopped === "quorum" || stopped === "cancelled") return "stopped";
  if (stopped === "deadline" || stopped === "too-slow") return wasConnected ? "timed-out" : "unreachable";
  if (code === "PARTIAL") return "partial";
  if (code === "INTERRUPTED") return "stopped";
  switch (ERRORS[code].exit) {
    case 6:
      return wasConnected ? "timed-out" : "unreachable";
    case 7:
    case 9:
    case 10:
    case 11:
      return "refused";
    default:
      return "failed";
  }
}

/**
 * The verdict over all receivers: `undefined` when every one is complete, PARTIAL when some have
 * something, and the common failure when none has.
 */
export function groupVerdict(ends: readonly ReceiverEnd[]): {
  readonly code: ErrorCode | undefined;
  readonly text: string;
} {
  const failed = ends.filter(({ verdict }) => !isComplete(verdict));
  const [first] = failed;
  const complete = ends.length - failed.length;
  if (first?.code === undefined) return { code: undefined, text: `${complete} receivers complete` };
  const { code, text } = first;
  const hasSome = complete > 0 || failed.some(({ verdict }) => verdict === "partial");
  const hasOneExit = failed.every((end) => ERRORS[end.code ?? "INTERNAL"].exit === ERRORS[code].exit);
  if (!hasSome && hasOneExit) {
    return { code, text: failed.length > 1 ? `${text} (and ${failed.length - 1} more receivers)` : text };
  }
  return {
    code: "PARTIAL",
    text: `${failed.length} of ${ends.length} receivers not complete; first: ${text}`,
  };
}
