/**
 * The memory for received file data that all connections of a process share. Each has a least part for
 * itself, so that nobody waits for another; the rest is divided evenly among those that are there. What
 * was granted to a peer counts until it was used and consumed: the sum never exceeds the whole.
 */
import { assert } from "../base/assert.ts";
import {
  CHUNK_BYTES,
  RECEIVE_MEMORY_LEAST_BYTES,
  RECEIVE_MEMORY_PROCESS_BYTES,
  TRANSFERS_PER_PROCESS,
} from "../base/limits.ts";

/** Memory beside a window: the chunk at its edge, of which the peer may send only the beginning. */
const EDGE_BYTES = CHUNK_BYTES;

/** Part of the whole that is kept as buffers for reuse: a sixteenth. */
const SPARE_PART = 16;

/** Divides the memory of one process. */
export class ReceiveBudget {
  private readonly totalBytes: number;
  private readonly maxMembers: number;
  private readonly leases = new Set<ReceiveLease>();
  /** Buffers for reuse, of all members. */
  readonly spare: { readonly buffers: Uint8Array[]; readonly most: number };
  private committed = 0;

  /** @param maxMembers - Connections at once: the least part of each is kept free. */
  constructor(totalBytes = RECEIVE_MEMORY_PROCESS_BYTES, maxMembers = TRANSFERS_PER_PROCESS) {
    this.spare = { buffers: [], most: Math.floor(totalBytes / SPARE_PART / CHUNK_BYTES) };
    this.totalBytes = totalBytes - this.spare.most * CHUNK_BYTES;
    assert(maxMembers * LEAST_COST_BYTES <= this.totalBytes, "the least parts of all fit into the whole");
    this.maxMembers = maxMembers;
  }

  /** Bytes that may be held at most now. */
  get committedBytes(): number {
    return this.committed + this.spare.most * CHUNK_BYTES;
  }

  /** A part for one more connection, or `undefined` when there are as many as there may be. */
  join(): ReceiveLease | undefined {
    if (this.leases.size >= this.maxMembers) return undefined;
    const lease = new ReceiveLease(this);
    this.leases.add(lease);
    this.committed += LEAST_COST_BYTES;
    return lease;
  }

  /** @internal */
  leave(lease: ReceiveLease): void {
    if (this.leases.delete(lease)) this.committed -= lease.windowBytes + EDGE_BYTES;
  }

  /** @internal The window that one of the present members may have. */
  get shareBytes(): number {
    const free = this.totalBytes - this.maxMembers * LEAST_COST_BYTES;
    return RECEIVE_MEMORY_LEAST_BYTES + Math.floor(free / Math.max(1, this.leases.size));
  }

  /** @internal Bytes by which a window may grow now. */
  takeGrowth(wantedBytes: number): number {
    const kept = (this.maxMembers - this.leases.size) * LEAST_COST_BYTES;
    const taken = Math.max(0, Math.min(wantedBytes, this.totalBytes - kept - this.committed));
    this.committed += taken;
    return taken;
  }

  /** @internal */
  giveBack(bytes: number): void {
    this.committed -= bytes;
  }
}

/** Memory that one connection's least window costs. */
const LEAST_COST_BYTES = RECEIVE_MEMORY_LEAST_BYTES + EDGE_BYTES;

/** The part of one connection. */
export class ReceiveLease {
  private readonly budget: ReceiveBudget;
  private window = RECEIVE_MEMORY_LEAST_BYTES;
  private isOver = false;

  constructor(budget: ReceiveBudget) {
    this.budget = budget;
  }

  /** Buffers for reuse, shared with all others. */
  get spare(): ReceiveBudget["spare"] {
    return this.budget.spare;
  }

  /** Window that is granted: bytes the peer may have sent, or send now, that are not consumed. */
  get windowBytes(): number {
    return this.window;
  }

  /** Memory that chunks may take. */
  get limitBytes(): number {
    return this.window + EDGE_BYTES;
  }

  /**
   * The window that may be granted, of `wantedBytes`, when `outstandingBytes` are granted already and
   * not consumed: those cannot be taken back. Counts it.
   */
  fit(wantedBytes: number, outstandingBytes: number): number {
    if (this.isOver) return Math.min(wantedBytes, this.window);
    const share = Math.min(wantedBytes, this.budget.shareBytes);
    const target = Math.max(share, outstandingBytes, RECEIVE_MEMORY_LEAST_BYTES);
    if (target > this.window) this.window += this.budget.takeGrowth(target - this.window);
    else {
      this.budget.giveBack(this.window - target);
      this.window = target;
    }
    return Math.min(share, this.window);
  }

  /** Gives all back: nothing of the connection is in memory any more. Safe to call twice. */
  leave(): void {
    this.isOver = true;
    this.budget.leave(this);
  }
}
