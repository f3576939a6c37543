/** `godwit send` to more than one receiver. */
import type { StreamSource } from "../api/send.ts";
import { sendToMany } from "../api/send-many.ts";
import { GodwitError } from "../base/errors.ts";
import { followFleet, groupResultEvent } from "./fleet-follower.ts";
import type { FleetFlags } from "./fleet-options.ts";
import { dialOptions, treeOptions, type NetworkFlags, type TreeFlags, type TrustFlags } from "./options.ts";
import type { Output } from "./output.ts";
import type { Signals } from "./signals.ts";

/**
 * Sends to many, shows it, and returns the exit status.
 *
 * @throws GodwitError when nothing could be begun.
 */
export async function sendFleet(
  source: readonly string[] | StreamSource,
  targets: readonly string[],
  flags: NetworkFlags & TreeFlags & TrustFlags & FleetFlags,
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
    maxLanes: flags.maxLanes,
    retries: flags.retry,
    quorum: flags.quorum,
    deadlineUs: flags.deadline,
    minRateBytesPerSecond: flags.minRate,
    laggards: flags.laggards,
  });
  const result = await followFleet(transfer, output);
  output.json(groupResultEvent(result));
  return signals.exitStatus() ?? result.exit;
}
