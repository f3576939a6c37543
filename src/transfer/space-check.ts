/** Refuses a transfer that cannot fit before its data moves. */
import { GodwitError } from "../base/errors.ts";
import { formatBytes } from "../base/units.ts";
import type { RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";

/** Entries offered before the first is accepted although the list is not complete: space is checked over them. */
const ENTRIES_BEFORE_DATA = 1_000;

/** The gate for data. */
export class SpaceCheck {
  private readonly runner: DiskRunner;
  private readonly root: RootHandle;
  private state: "closed" | "checking" | "open" = "closed";
  private isComplete = false;

  constructor(runner: DiskRunner, root: RootHandle) {
    this.runner = runner;
    this.root = root;
  }

  /** Whether files may be accepted. */
  get isOpen(): boolean {
    return this.state === "open";
  }

  /** Whether something has to be looked at, now that the list is so long. */
  isDue(entries: number, isWholeList: boolean): boolean {
    if (this.isComplete || this.state === "checking") return false;
    return isWholeList || (this.state === "closed" && entries >= ENTRIES_BEFORE_DATA);
  }

  /** Opens the gate if `neededBytes` fit; otherwise says why not. 0 opens it at once, without `onChecked`. */
  check(
    neededBytes: number,
    isWholeList: boolean,
    onChecked: (refusal: GodwitError | undefined) => void,
  ): void {
    if (neededBytes === 0) {
      this.isComplete = isWholeList;
      this.state = "open";
      return;
    }
    this.state = "checking";
    this.runner.start(ask({ kind: "free-space", root: this.root }), (space) => {
      this.state = "open";
      this.isComplete = isWholeList;
      // A file system that cannot tell is no reason to refuse.
      if (!space.ok || space.freeBytes >= neededBytes) {
        onChecked(undefined);
        return;
      }
      const text = `disk full at the receiver: needs ${formatBytes(neededBytes)}, ${formatBytes(space.freeBytes)} free, ${formatBytes(neededBytes - space.freeBytes)} missing; free space and run the same command again`;
      onChecked(new GodwitError("NO_SPACE", text));
    });
  }
}
