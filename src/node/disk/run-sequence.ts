/** Runs one disk sequence of the pure layers to its end on this machine's disk. */
import { DiskRunner } from "../../files/disk-runner.ts";
import type { DiskSequence } from "../../files/disk.ts";
import { NodeDisk } from "./node-disk.ts";

/** Resolves with the outcome of `sequence`; rejects only for a bug. */
export function runSequence<Outcome>(sequence: DiskSequence<Outcome>): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const runner = new DiskRunner();
    const perform = (): void => {
      for (const request of runner.takeRequests()) disk.perform(request);
    };
    const disk = new NodeDisk((id, result) => {
      try {
        runner.handleResult(id, result);
        perform();
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    });
    runner.start(sequence, (outcome) => {
      disk.close();
      resolve(outcome);
    });
    perform();
  });
}
