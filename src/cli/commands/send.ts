/** `godwit send`: push files and trees. */
import { basename } from "node:path";
import { Command, Option } from "commander";
import { send, type SendOptions, type StreamSource } from "../../api/send.ts";
import { GodwitError } from "../../base/errors.ts";
import { dialAsking } from "../ask-trust.ts";
import { addFleetOptions, hasFleetFlags, type FleetFlags } from "../fleet-options.ts";
import { follow, reportFailure, resultEvent } from "../follow.ts";
import {
  addCommonOptions,
  addNetworkOptions,
  addStatsOption,
  addTreeOptions,
  addTrustOptions,
  dialOptions,
  treeOptions,
  type NetworkFlags,
  type TreeFlags,
  type TrustFlags,
} from "../options.ts";
import { formatReceipt } from "../../api/receipt.ts";
import type { TransferResult } from "../../api/transfer.ts";
import { replaceFile } from "../../node/stores/atomic-file.ts";
import { Output, shown } from "../output.ts";
import { watchSignals } from "../signals.ts";
import { expandTargets } from "../targets.ts";

type SendFlags = NetworkFlags &
  TreeFlags &
  TrustFlags &
  FleetFlags & { readonly to: readonly string[]; readonly name?: string; readonly receipt?: string };

/** The command. */
export function command(): Command {
  const base = new Command("godwit send")
    .description(
      "Push files and trees. Ends with status 0 only when every file is verified, flushed and named at the receiver.",
    )
    .argument("<path...>", "files and directories; - sends standard input, with --name")
    .addOption(
      new Option(
        "--to <host>",
        "HOST[:PORT][/DIR], @name[/DIR], or @FILE with one of these a line; may be repeated",
      )
        .makeOptionMandatory()
        .argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]),
    )
    .option("--name <name>", "name for standard input at the receiver")
    .option(
      "--receipt <file>",
      "store what the receiver signs: what it has, and when it was on its disk; with many, a directory",
    );
  return addCommonOptions(
    addStatsOption(addNetworkOptions(addTrustOptions(addTreeOptions(addFleetOptions(base))))),
  ).action(run);
}

function sourceFrom(paths: readonly string[], name: string | undefined): readonly string[] | StreamSource {
  if (!paths.includes("-")) {
    if (name !== undefined) throw new GodwitError("USAGE", "--name goes with - (standard input) only");
    return paths;
  }
  if (paths.length > 1)
    throw new GodwitError("USAGE", "- (standard input) is sent by itself, without other paths");
  if (name === undefined || name === "")
    throw new GodwitError("USAGE", "standard input needs a file name: --name NAME");
  if (basename(name) !== name)
    throw new GodwitError("USAGE", "--name is a file name; a directory goes behind the host: --to HOST/DIR");
  return { stream: process.stdin, name };
}

/** @throws GodwitError DESTINATION_UNWRITABLE: the transfer is complete all the same. */
function storeReceipt(file: string, result: TransferResult, output: Output): void {
  if (result.receipt === undefined) {
    output.say("no receipt: nothing new was stored there");
    return;
  }
  try {
    replaceFile(file, Buffer.from(formatReceipt(result.receipt)));
  } catch (cause) {
    throw new GodwitError(
      "DESTINATION_UNWRITABLE",
      `the transfer is complete, but its receipt cannot be written to ${shown(file)}; name another file and send again with --update`,
      { path: file, cause },
    );
  }
  output.say(`receipt in ${shown(file)}; to check it: godwit verify ${shown(file)}`);
}

async function run(paths: string[], flags: SendFlags): Promise<void> {
  const output = new Output(flags);
  const signals = watchSignals();
  const startedAt = performance.now();
  try {
    const source = sourceFrom(paths, flags.name);
    const { targets, usesList } = expandTargets(flags.to);
    if (targets.length > 1 || usesList || hasFleetFlags(flags)) {
      // Loaded for those who use it: most sends go to one machine.
      const { sendFleet } = await import("../fleet.ts");
      process.exitCode = await sendFleet(source, targets, flags, output, signals);
      return;
    }
    const options: SendOptions = {
      ...dialOptions(flags, signals.signal),
      ...treeOptions(flags),
      to: targets[0],
      receipt: flags.receipt !== undefined,
    };
    const result = await dialAsking(options, output, (trusted) =>
      follow(send(source, { ...options, ...trusted }), output, "sent", flags.stats === true),
    );
    if (flags.receipt !== undefined) storeReceipt(flags.receipt, result, output);
    output.json(resultEvent(result));
    process.exitCode = result.exit;
  } catch (error) {
    reportFailure(error, output, startedAt, signals.exitStatus());
  }
  // Standard input may still be open: nothing is left to do with it.
  process.stdin.unref?.();
}
