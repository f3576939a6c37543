/** What a transfer to many takes, tells while it runs, and ends with. */
import type { ErrorCode } from "../base/errors.ts";
import type { ReceiverVerdict } from "../group/verdict.ts";
import type { EntryFailure } from "../transfer/tally.ts";
import type { DialOptions } from "./options.ts";
import type { PathReport } from "./path-report.ts";
import type { Receipt } from "./receipt.ts";
import type { PushOptions } from "./send.ts";
import type { TransferUpdate } from "./transfer.ts";

/** Options of `sendToMany`. docs/design/group.md says what each rule means. */
export interface SendToManyOptions extends DialOptions, PushOptions {
  /** Receivers, each as for `send`. The same one twice counts once. */
  readonly to: readonly string[];
  /** Keep what each receiver signs: what it has, and when it was on its disk. */
  readonly receipt?: boolean | undefined;
  /** Receivers that move at once, at most. Default 64. */
  readonly maxLanes?: number | undefined;
  /** New attempts after one that failed without anything new verified. Default 2. */
  readonly retries?: number | undefined;
  /** `N` or `P%`: when so many are complete the others are ended, at `deadlineUs` if that is given. */
  readonly quorum?: string | undefined;
  /** Time after the start at which receivers that are not done are ended, in microseconds. */
  readonly deadlineUs?: number | undefined;
  /** Verified bytes per second over ten seconds below which a receiver is a laggard. */
  readonly minRateBytesPerSecond?: number | undefined;
  /**
   * Receivers that can serve what they have to others of this transfer, so that each chunk leaves this
   * machine about once. Default false. Not together with `sparse`.
   */
  readonly relay?: boolean | undefined;
  /** What happens to laggards: others go first (`demote`, the default), or they are ended. */
  readonly laggards?: "drop" | "demote" | undefined;
}

/** How one receiver ended. */
export interface ReceiverResult {
  /** As the user named it. */
  readonly target: string;
  readonly address: string;
  /** Its proven fingerprint; `""` when it never answered. */
  readonly fingerprint: string;
  readonly verdict: ReceiverVerdict;
  readonly exit: number;
  /** What failed, when not everything is complete. */
  readonly error: { readonly code: ErrorCode; readonly text: string } | undefined;
  readonly files: number;
  readonly directories: number;
  readonly links: number;
  readonly unchangedFiles: number;
  readonly bytes: number;
  readonly resumedBytes: number;
  /** Bytes that it got from other receivers. */
  readonly relayedBytes: number;
  /** Hash of the tree of everything it has, hexadecimal; `""` when it has nothing. */
  readonly root: string;
  readonly receipt: Receipt | undefined;
  readonly failures: readonly EntryFailure[];
  /** Lanes opened for it. */
  readonly attempts: number;
  /** From the start of the group to the end of this receiver. */
  readonly seconds: number;
  /** Path of the last lane; `undefined` when none was open. */
  readonly path: PathReport | undefined;
}

/** The end of a transfer to many. */
export interface SendToManyResult {
  /** `complete`: every receiver is. `partial`: some have something. `failed`: none has. */
  readonly result: "complete" | "partial" | "failed";
  /** 0 only if every receiver is complete, 3 if some are; else the exit status they failed with. */
  readonly exit: number;
  readonly text: string;
  readonly receivers: readonly ReceiverResult[];
  readonly completeReceivers: number;
  /** What was asked for as enough, when something was. */
  readonly quorum: { readonly needed: number; readonly isReached: boolean } | undefined;
  /** Bytes read from the source, and those among them that were read for a second time. */
  readonly sourceReadBytes: number;
  readonly sourceRereadBytes: number;
  /** With `relay`: what was sent to one receiver, to a further one, and what receivers gave each other. */
  readonly relay: RelayCounts | undefined;
  readonly seconds: number;
}

/** What a transfer with `relay` moved, in bytes of files. */
export interface RelayCounts {
  readonly sentOnceBytes: number;
  readonly sentAgainBytes: number;
  readonly relayedBytes: number;
}

/** What a transfer to many tells while it runs. */
export type GroupUpdate =
  | {
      readonly type: "receiver-event";
      readonly receiver: number;
      readonly target: string;
      readonly event: TransferUpdate;
    }
  | {
      readonly type: "receiver-state-changed";
      readonly receiver: number;
      readonly target: string;
      readonly state: "dialling" | "moving" | "waiting";
      readonly attempt: number;
      /** Why it waits again, when an attempt failed. */
      readonly text: string;
    }
  | {
      readonly type: "receiver-ended";
      readonly receiver: number;
      readonly target: string;
      readonly result: ReceiverResult;
    }
  | {
      readonly type: "group-progress";
      readonly receivers: number;
      readonly completeReceivers: number;
      readonly endedReceivers: number;
      readonly movingReceivers: number;
      readonly verifiedBytes: number;
      /** All receivers together; `undefined` until the source was scanned. */
      readonly totalBytes: number | undefined;
      readonly resumedBytes: number;
      readonly sourceReadBytes: number;
      readonly sourceRereadBytes: number;
      readonly relay: RelayCounts | undefined;
    };

/** A running transfer to many. */
export interface GroupTransfer extends AsyncIterable<GroupUpdate> {
  /** Settles when every receiver has its end; rejects only when nothing could be begun. */
  readonly result: Promise<SendToManyResult>;
}
