/**
 * Runs disk sequences side by side: collects the operations they ask for and feeds the results back.
 *
 * Pure: the host takes the operations, runs them in any order and returns each result once.
 */
import { assert } from "../base/assert.ts";
import type { DiskRequest, DiskResult, DiskSequence } from "./disk.ts";

interface Running {
  readonly sequence: DiskSequence<unknown>;
  readonly onDone: (outcome: unknown) => void;
}

/** The sequences of one engine. */
export class DiskRunner {
  private requests: DiskRequest[] = [];
  private readonly waiting = new Map<number, Running>();
  private nextId = 1;

  /** Sequences that wait for a result. */
  get runningCount(): number {
    return this.waiting.size;
  }

  /** Starts `sequence`; `onDone` is called with its outcome, at once if it needs no operation. */
  start<Outcome>(sequence: DiskSequence<Outcome>, onDone: (outcome: Outcome) => void): void {
    const running: Running = { sequence, onDone: (outcome) => onDone(outcome as Outcome) };
    this.step(running, sequence.next());
  }

  /** Hands out the operations asked for since the last call, oldest first. */
  takeRequests(): DiskRequest[] {
    if (this.requests.length === 0) return [];
    const taken = this.requests;
    this.requests = [];
    return taken;
  }

  /** Whether operations wait to be taken. */
  get hasRequests(): boolean {
    return this.requests.length > 0;
  }

  /** Continues the sequence that asked for operation `id`. */
  handleResult(id: number, result: DiskResult): void {
    const running = this.waiting.get(id);
    assert(running !== undefined, "a disk result must answer an operation that is running");
    this.waiting.delete(id);
    this.step(running, running.sequence.next(result));
  }

  private step(running: Running, next: IteratorResult<DiskRequest["operation"], unknown>): void {
    if (next.done === true) {
      running.onDone(next.value);
      return;
    }
    const id = this.nextId++;
    this.waiting.set(id, running);
    this.requests.push({ id, operation: next.value });
  }
}
