/**
 * Tells a stall from legitimate quiet: how long a session waits for a peer that answers on the network
 * but does not go on with the transfer. docs/spec/transfer.md §8.
 *
 * Progress is what moves the transfer itself: messages, file data and their acknowledgement. A side
 * that is busy with its own disk, pipe or host says WORKING now and then, and is waited for longer.
 */
import { SESSION_PATIENCE_US, WORKING_MAX_US } from "../base/limits.ts";

/** A busy side says so as often as this while nothing else is said, in microseconds. */
export const WORKING_INTERVAL_US = 2_000_000;

/** Below it the peer's WORKING could come too late on a slow path, in microseconds. */
const SHORTEST_PATIENCE_US = 5_000_000;

/** What a look at the clock says. */
export type PatienceVerdict = "fine" | "say-working" | "no-progress";

/** Watches one session. */
export class Patience {
  private patienceUs = SESSION_PATIENCE_US;
  /** Last progress; `undefined` before the first look at the clock. */
  private progressAtUs: number | undefined;
  /** Progress without a time: counts from the next look. */
  private hasNewProgress = false;
  /** When this side was last seen busy, and when the peer last said that it is. */
  private busyAtUs = 0;
  private peerWorkingAtUs = 0;
  private saidAtUs = 0;

  /** From now on waits this long; 0 for ever, 60 s unless given. */
  setPatience(patienceUs: number = SESSION_PATIENCE_US): void {
    this.patienceUs = patienceUs === 0 ? Infinity : Math.max(patienceUs, SHORTEST_PATIENCE_US);
  }

  /** The transfer moved: counts from the next look at the clock. */
  handleProgress(): void {
    this.hasNewProgress = true;
  }

  /** The peer says that it is busy. */
  handlePeerWorking(nowUs: number): void {
    this.peerWorkingAtUs = nowUs;
  }

  /** An operation of this side's own ended. */
  handleLocalProgress(nowUs: number): void {
    this.busyAtUs = nowUs;
  }

  /** Takes the time for what has none yet, the beginning included. To be called in each turn. */
  look(nowUs: number): number {
    if (this.hasNewProgress || this.progressAtUs === undefined) this.progressAtUs = nowUs;
    this.hasNewProgress = false;
    return this.progressAtUs;
  }

  /** Whether it is time for a verdict. "say-working" is answered by saying so. */
  check(isBusy: boolean, nowUs: number): PatienceVerdict {
    const progressAtUs = this.look(nowUs);
    if (isBusy) this.busyAtUs = nowUs;
    if (nowUs >= this.deadlineUs(progressAtUs)) return "no-progress";
    if (!isBusy || nowUs < this.workingDueUs(progressAtUs)) return "fine";
    this.saidAtUs = nowUs;
    return "say-working";
  }

  /** When `check` has something to say at the earliest, or `undefined`. */
  nextUs(isBusy: boolean): number | undefined {
    const { progressAtUs } = this;
    if (progressAtUs === undefined) return undefined;
    const deadlineUs = this.deadlineUs(progressAtUs);
    const atUs = isBusy ? Math.min(deadlineUs, this.workingDueUs(progressAtUs)) : deadlineUs;
    return atUs === Infinity ? undefined : atUs;
  }

  private deadlineUs(progressAtUs: number): number {
    const { patienceUs } = this;
    const sinceUs = Math.max(progressAtUs, this.busyAtUs, this.peerWorkingAtUs);
    return Math.min(sinceUs + patienceUs, progressAtUs + Math.max(WORKING_MAX_US, patienceUs));
  }

  private workingDueUs(progressAtUs: number): number {
    return Math.max(progressAtUs, this.saidAtUs) + WORKING_INTERVAL_US;
  }
}
