/**
 * Whole chunks that are in memory already: read from the page cache, read and written in a file system
 * that lives in memory. The addon says which they are; without it everything goes to threads.
 */
import { nativeBinding, type NativeBinding } from "../sockets/native-loader.ts";

/** What the addon offers for it. */
export type MemoryBinding = Pick<NativeBinding, "readNow" | "writeNow">;

/**
 * Reads of a file that go to threads once one was not in memory; twice as many each time it happens again,
 * up to `THREAD_READS_MAX`. A file that comes from a disk so costs a few calls for nothing. Each of them may
 * make the system fetch what follows, and that is the disk's work, not ours.
 */
const THREAD_READS = 16;
const THREAD_READS_MAX = 4_096;

interface Absence {
  threadReadsLeft: number;
  threadReadsNext: number;
}

/** Does at once what waits for no device. */
export class MemoryCalls {
  private readonly binding: MemoryBinding;
  /** Files that were not in memory when they were read last. */
  private readonly absent = new Map<number, Absence>();
  /** Files that do not live in memory. */
  private readonly unwritable = new Set<number>();

  constructor(binding: MemoryBinding = nativeBinding() ?? {}) {
    this.binding = binding;
  }

  /** Bytes read into `target`, 0 at the end of the file; `undefined` when it has to be read by a thread. */
  read(file: number, target: Uint8Array, offset: number): number | undefined {
    const { readNow } = this.binding;
    if (readNow === undefined) return undefined;
    const absence = this.absent.get(file);
    if (absence !== undefined && absence.threadReadsLeft > 0) {
      absence.threadReadsLeft--;
      return undefined;
    }
    const lengthBytes = readNow(file, target, offset);
    if (lengthBytes >= 0) {
      if (absence !== undefined) this.absent.delete(file);
      return lengthBytes;
    }
    const reads = absence?.threadReadsNext ?? THREAD_READS;
    this.absent.set(file, {
      threadReadsLeft: reads,
      threadReadsNext: Math.min(2 * reads, THREAD_READS_MAX),
    });
    return undefined;
  }

  /** Bytes of `bytes` that were written; `undefined` when a thread has to write them. */
  write(file: number, bytes: Uint8Array, offset: number): number | undefined {
    const { writeNow } = this.binding;
    if (writeNow === undefined || this.unwritable.has(file)) return undefined;
    const lengthBytes = writeNow(file, bytes, offset);
    if (lengthBytes >= 0) return lengthBytes;
    this.unwritable.add(file);
    return undefined;
  }

  /** A file is closed: the next one with its number is another. */
  forget(file: number): void {
    this.absent.delete(file);
    this.unwritable.delete(file);
  }
}
