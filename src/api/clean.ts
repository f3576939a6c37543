/** `clean()`: removes what interrupted transfers left behind. */
import { GodwitError } from "../base/errors.ts";
import { RESUME_STATE_SECONDS } from "../base/limits.ts";
import { ask, type DiskSequence } from "../files/disk.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";
import { findLeftovers, removeLeftover, type Leftover } from "../files/leftovers.ts";
import { printable } from "../files/printable.ts";
import { wallNowUs } from "../node/clock.ts";
import { runSequence } from "../node/disk/run-sequence.ts";
import { localPath } from "./local-path.ts";

/** Which leftovers to remove. */
export interface CleanOptions {
  /** Directory to look in, everything below it included. Default: the current one. */
  readonly directory?: string | undefined;
  /** Leave what was touched less than this many seconds ago. Default 0: remove all. */
  readonly olderThanSeconds?: number | undefined;
  /** Only tell what would be removed. */
  readonly dryRun?: boolean | undefined;
}

/** One interrupted transfer and what became of its state. */
export interface CleanedTransfer {
  readonly job: string;
  readonly files: number;
  readonly bytes: number;
  readonly modifiedAtUs: number;
  /** `kept`: a living process is receiving it. `failed`: some of its files could not be removed. */
  readonly state: "removed" | "would-remove" | "kept" | "failed";
}

/**
 * Removes the staging files and journals of interrupted transfers below a directory. A transfer that
 * is running is left alone.
 *
 * @throws GodwitError USAGE, NOT_FOUND or DESTINATION_UNWRITABLE when the directory cannot be opened.
 */
export async function clean(options: CleanOptions = {}): Promise<CleanedTransfer[]> {
  const location = localPath(options.directory ?? ".");
  const newestUs = wallNowUs() - (options.olderThanSeconds ?? 0) * 1e6;
  return await runSequence(cleaning(location, newestUs, options.dryRun ?? false));
}

/** Removes what is older than the time for which interrupted transfers are kept. For servers. */
export async function cleanExpired(directory: string): Promise<void> {
  await clean({ directory, olderThanSeconds: RESUME_STATE_SECONDS });
}

function* cleaning(location: string, newestUs: number, isDryRun: boolean): DiskSequence<CleanedTransfer[]> {
  const opened = yield* ask({ kind: "open-root", location, create: false });
  if (!opened.ok) {
    throw new GodwitError(
      destinationErrorCode(opened.errno),
      `cannot look into ${printable(location)}: ${errnoText(opened.errno)}`,
      { path: location },
    );
  }
  const { root } = opened;
  const found = yield* findLeftovers(root);
  const cleaned: CleanedTransfer[] = [];
  for (const leftover of found.values()) {
    if (leftover.modifiedAtUs > newestUs) continue;
    if (isDryRun) cleaned.push(report(leftover, "would-remove"));
    else {
      const { inUse, failed } = yield* removeLeftover(root, leftover);
      cleaned.push(report(leftover, inUse ? "kept" : failed > 0 ? "failed" : "removed"));
    }
  }
  yield* ask({ kind: "close-root", root });
  return cleaned;
}

function report(leftover: Leftover, state: CleanedTransfer["state"]): CleanedTransfer {
  const { job, paths, sizeBytes, modifiedAtUs } = leftover;
  return { job, files: paths.length, bytes: sizeBytes, modifiedAtUs, state };
}
