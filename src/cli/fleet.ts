/** `godwit send` to more than one receiver. */
import { join } from "node:path";
import type { StreamSource } from "../api/send.ts";
import { formatReceipt } from "../api/receipt.ts";
import type { SendToManyResult } from "../api/group-transfer.ts";
import { sendToMany } from "../api/send-many.ts";
import { GodwitError } from "../base/errors.ts";
import { counted } from "../base/units.ts";
import { makeDirectories } from "../node/make-directories.ts";
import { replaceFile } from "../node/stores/atomic-file.ts";
import { followFleet, groupResultEvent } from "./fleet-follower.ts";
import type { FleetFlags } from "./fleet-options.ts";
import { dialOptions, treeOptions, type NetworkFlags, type TreeFlags, type TrustFlags } from "./options.ts";
import { shown, type Output } from "./output.ts";
import { statisticsLines } from "./render/statistics.ts";
import type { Signals } from "./signals.ts";

/**
 * Sends to many, shows it, and returns the exit status.
 *
 * @throws GodwitError when nothing could be begun.
 */
export async function sendFleet(
  source: readonly string[] | StreamSource,
  targets: readonly string[],
  flags: NetworkFlags & TreeFlags & TrustFlags & FleetFlags & { readonly receipt?: string },
  output: Output,
  signals: Signals,
): Promise<number> {
  if ("stream" in source) {
    throw new GodwitError(
      "USAGE",
      "standard input goes to one receiver only, for it cannot be read again; write it to a file first",
    );
  }
  const transfer = sendToMany(source, {
    ...dialOptions(flags, signals.signal),
    ...treeOptions(flags),
    to: targets,
    receipt: flags.receipt !== undefined,
    maxLanes: flags.maxLanes,
    retries: flags.retry,
    quorum: flags.quorum,
    deadlineUs: flags.deadline,
    minRateBytesPerSecond: flags.minRate,
    laggards: flags.laggards,
    relay: flags.relay,
  });
  const result = await followFleet(transfer, output);
  if (flags.stats === true && !output.wantsJson) {
    for (const { target, path } of result.receivers) {
      if (path === undefined) continue;
      output.say(shown(target));
      for (const line of statisticsLines(path)) output.say(line);
    }
  }
  if (flags.receipt !== undefined) storeReceipts(flags.receipt, result, output);
  output.json(groupResultEvent(result));
  return signals.exitStatus() ?? result.exit;
}

/** One file per receiver that signed one, named after it. @throws GodwitError DESTINATION_UNWRITABLE. */
function storeReceipts(directory: string, result: SendToManyResult, output: Output): void {
  const names = new Set<string>();
  try {
    makeDirectories(directory);
    for (const { target, receipt } of result.receivers) {
      if (receipt === undefined) continue;
      const name = receiptName(target, names);
      names.add(name);
      replaceFile(join(directory, `${name}.json`), Buffer.from(formatReceipt(receipt)));
    }
  } catch (cause) {
    throw new GodwitError(
      "DESTINATION_UNWRITABLE",
      `the transfer is over, but its receipts cannot be written to the directory ${shown(directory)}; name another one and send again with --update`,
      { path: directory, cause },
    );
  }
  output.say(`${counted(names.size, "receipt")} in ${shown(directory)}`);
}

/** A file name for the receipt of `target`, of which there is none among `taken`. */
export function receiptName(target: string, taken: ReadonlySet<string>): string {
  const name = target.replace(/[^A-Za-z0-9.-]+/g, "_");
  let free = name;
  for (let i = 2; taken.has(free); i++) free = `${name}_${i}`;
  return free;
}
