/** `godwit get`: pull files and trees. */
import { Command } from "commander";
import { get, type GetOptions } from "../../api/get.ts";
import { GodwitError } from "../../base/errors.ts";
import { dialAsking } from "../ask-trust.ts";
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
import { Output } from "../output.ts";
import { watchSignals } from "../signals.ts";

type GetFlags = NetworkFlags & TreeFlags & TrustFlags & { readonly into: string };

/** The command. */
export function command(): Command {
  const base = new Command("godwit get")
    .description(
      "Pull files and trees. Ends with status 0 only when every file is verified, flushed and named here.",
    )
    .argument("<from...>", "HOST[:PORT]/PATH or @name/PATH; several of one machine")
    .option(
      "--into <dir>",
      "directory to put everything into, made when missing; - writes one file to standard output",
      ".",
    );
  return addCommonOptions(addStatsOption(addNetworkOptions(addTrustOptions(addTreeOptions(base))))).action(
    run,
  );
}

async function run(from: string[], flags: GetFlags): Promise<void> {
  const output = new Output(flags);
  const signals = watchSignals();
  const startedAt = performance.now();
  try {
    if (flags.into === "-" && flags.json === true) {
      throw new GodwitError("USAGE", "--json and --into - both want standard output; choose one");
    }
    const options: GetOptions = {
      ...dialOptions(flags, signals.signal),
      ...treeOptions(flags),
      into: flags.into === "-" ? process.stdout : flags.into,
    };
    const result = await dialAsking(options, output, (trusted) =>
      follow(get(from, { ...options, ...trusted }), output, "received", flags.stats === true),
    );
    output.json(resultEvent(result));
    process.exitCode = result.exit;
  } catch (error) {
    reportFailure(error, output, startedAt, signals.exitStatus());
  }
}
