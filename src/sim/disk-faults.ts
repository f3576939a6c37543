/** What a simulated disk does wrong, as plain data: a scenario or a regression can hold it. */
import type { DiskOperationKind } from "../files/disk.ts";

/** The `atCall`-th operation of a kind, counted from 1 since the disk was made, fails. */
export interface DiskCallFault {
  readonly kind: DiskOperationKind;
  readonly atCall: number;
  /** The system's name of the error, such as `EIO`. */
  readonly errno: string;
  /** How many in a row fail; default 1. */
  readonly times?: number;
}

/** Everything that can be wrong with a disk. */
export interface DiskFaults {
  /** Bytes of file data that fit; 0: no limit. What fits of a write is written, the rest is `ENOSPC`. */
  readonly capacityBytes: number;
  /** Bytes a file may have, as `ulimit -f`: `EFBIG` beyond. 0: no limit. */
  readonly fileSizeMaxBytes: number;
  readonly calls: readonly DiskCallFault[];
  /** A write takes only a part, without an error. */
  readonly shortWriteProbability: number;
  /** A read returns only a part, without an error. */
  readonly shortReadProbability: number;
  /** No hard links here, as on FAT. */
  readonly hasNoLinks: boolean;
}

/** A disk that works. */
export const HEALTHY_DISK: DiskFaults = {
  capacityBytes: 0,
  fileSizeMaxBytes: 0,
  calls: [],
  shortWriteProbability: 0,
  shortReadProbability: 0,
  hasNoLinks: false,
};
