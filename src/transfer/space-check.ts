/** Refuses a transfer that cannot fit before its data moves. */
import { GodwitError } from "../base/errors.ts";
import { formatBytes } from "../base/units.ts";
import type { RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import type { DiskRunner } from "../files/disk-runner.ts";

/** The gate for data. */
export class SpaceCheck {
  private readonly runner: DiskRunner;
  private readonly root: RootHandle;
  private state: "closed" | "checking" | "open" = "closed";
  private isComplete = false;
  /** What was needed when it did not fit. */
  private lastNeededBytes = -1;

  constructor(runner: DiskRunner, root: RootHandle) {
    this.runner = runner;
    this.root = root;
  }

  /** Whether files may be accepted. */
  get isOpen(): boolean {
    return this.state === "open";
  }

  /** Whether something has to be looked at: the whole list, or what it will come to, is known. */
  isDue(isWholeList: boolean, hasTotals: boolean): boolean {
    if (this.isComplete || this.state === "checking") return false;
    return isWholeList || (this.state === "closed" && hasTotals);
  }

  /**
   * Opens the gate if `neededBytes` fit, at once and without `onChecked` for 0. Otherwise says why not,
   * or stays closed when it may not refuse yet: what is still to be looked at may need less.
   */
  check(
    neededBytes: number,
    isWholeList: boolean,
    mayRefuse: boolean,
    onChecked: (refusal: GodwitError | undefined) => void,
  ): void {
    if (!mayRefuse && neededBytes === this.lastNeededBytes) return;
    if (neededBytes === 0) {
      this.isComplete = isWholeList;
      this.state = "open";
      return;
    }
    this.state = "checking";
    this.runner.start(ask({ kind: "free-space", root: this.root }), (space) => {
      const fits = !space.ok || space.freeBytes >= neededBytes;
      if (!fits && !mayRefuse) {
        this.state = "closed";
        this.lastNeededBytes = neededBytes;
        onChecked(undefined);
        return;
      }
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
