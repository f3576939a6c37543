/** Memory for chunks on their way between disk and network, within a budget. */
import { assert } from "../base/assert.ts";
import { CHUNK_BYTES } from "../base/limits.ts";

/** Whole buffers kept for reuse; the rest goes back to the host. */
const KEPT_BUFFERS = 64;

/** Whole buffers that wait for reuse. Whoever takes one overwrites it before anything is read from it. */
export interface SpareBuffers {
  readonly buffers: Uint8Array[];
  readonly most: number;
}

/** What a pool may hand out at once; it may change. */
export interface MemoryLimit {
  readonly limitBytes: number;
  /** Shared with other pools; a pool of its own has buffers of its own. */
  readonly spare?: SpareBuffers;
}

/** Hands out buffers until the budget is used up. Whole ones are reused. */
export class ChunkPool {
  private readonly budget: MemoryLimit;
  private used = 0;
  private readonly spare: SpareBuffers;

  constructor(budget: number | MemoryLimit) {
    this.budget = typeof budget === "number" ? { limitBytes: budget } : budget;
    this.spare = this.budget.spare ?? { buffers: [], most: KEPT_BUFFERS };
  }

  /** Bytes that may be handed out. */
  get budgetBytes(): number {
    return this.budget.limitBytes;
  }

  /** Bytes handed out. */
  get usedBytes(): number {
    return this.used;
  }

  /**
   * A buffer of `lengthBytes` (1 to one chunk), or `undefined` when the budget is used up. Made to
   * measure below a whole chunk: a window full of small files must not need more than itself.
   */
  take(lengthBytes: number): Uint8Array | undefined {
    const size = Math.max(lengthBytes, 1);
    if (this.used + size > this.budgetBytes) return undefined;
    this.used += size;
    const reused = size === CHUNK_BYTES ? this.spare.buffers.pop() : undefined;
    return reused ?? new Uint8Array(size);
  }

  /** Gives back a buffer of `take`, once. */
  give(buffer: Uint8Array): void {
    this.used -= buffer.length;
    assert(this.used >= 0, "a buffer is given back once");
    const { buffers, most } = this.spare;
    if (buffer.length === CHUNK_BYTES && buffers.length < most) buffers.push(buffer);
  }
}
