/** Memory for chunks on their way between disk and network, within a budget. */
import { assert } from "../base/assert.ts";
import { CHUNK_BYTES } from "../base/limits.ts";

/** Below it a buffer is made to measure: thousands of small files must not hold a whole chunk each. */
const SMALL_BYTES = CHUNK_BYTES / 2;

/** Whole buffers kept for reuse; the rest goes back to the host. */
const KEPT_BUFFERS = 64;

/** Hands out buffers until the budget is used up. Whole ones are reused. */
export class ChunkPool {
  readonly budgetBytes: number;
  private used = 0;
  private readonly free: Uint8Array[] = [];

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes;
  }

  /** Bytes handed out. */
  get usedBytes(): number {
    return this.used;
  }

  /** A buffer of at least `lengthBytes` (at most one chunk), or `undefined` when the budget is used up. */
  take(lengthBytes: number): Uint8Array | undefined {
    const size = lengthBytes < SMALL_BYTES ? Math.max(lengthBytes, 1) : CHUNK_BYTES;
    if (this.used + size > this.budgetBytes) return undefined;
    this.used += size;
    if (size < CHUNK_BYTES) return new Uint8Array(size);
    return this.free.pop() ?? new Uint8Array(CHUNK_BYTES);
  }

  /** Gives back a buffer of `take`, once. */
  give(buffer: Uint8Array): void {
    this.used -= buffer.length;
    assert(this.used >= 0, "a buffer is given back once");
    if (buffer.length === CHUNK_BYTES && this.free.length < KEPT_BUFFERS) this.free.push(buffer);
  }
}
