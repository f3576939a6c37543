/** `godwit clean`: removes what interrupted transfers left behind. */
import { Command, Option } from "commander";
import { clean } from "../../api/clean.ts";
import { ERRORS } from "../../base/errors.ts";
import { counted, formatBytes, parseDurationUs } from "../../base/units.ts";
import { reportFailure } from "../follow.ts";
import { addCommonOptions, argument, type CommonOptions } from "../options.ts";
import { Output } from "../output.ts";

interface CleanFlags extends CommonOptions {
  readonly olderThan?: number;
  readonly dryRun?: boolean;
}

const STATES = {
  removed: "removed",
  "would-remove": "would remove",
  kept: "in use, kept",
  failed: "could not be removed",
} as const;

/** The command. */
export function command(): Command {
  const base = new Command("godwit clean")
    .description(
      "Remove the staging files and journals of interrupted transfers. Running ones are left alone.",
    )
    .argument("[dir]", "directory to look in, everything below it included", ".")
    .addOption(
      new Option(
        "--older-than <time>",
        "leave what was touched more recently, such as 7d (default: remove all)",
      ).argParser(argument(parseDurationUs)),
    )
    .option("--dry-run", "say what would be removed, remove nothing");
  return addCommonOptions(base).action(run);
}

async function run(directory: string, flags: CleanFlags): Promise<void> {
  const output = new Output(flags);
  const startedAt = performance.now();
  try {
    const cleaned = await clean({
      directory,
      olderThanSeconds: flags.olderThan === undefined ? undefined : flags.olderThan / 1e6,
      dryRun: flags.dryRun,
    });
    let bytes = 0;
    for (const transfer of cleaned) {
      output.json({ event: "leftover", ...transfer });
      if (transfer.state !== "kept") bytes += transfer.bytes;
      if (!output.wantsJson) {
        output.say(
          `${transfer.job}  ${counted(transfer.files, "file")}, ${formatBytes(transfer.bytes)}: ${STATES[transfer.state]}`,
        );
      }
    }
    const hasFailed = cleaned.some(({ state }) => state === "failed");
    const exit = hasFailed ? ERRORS.DESTINATION_UNWRITABLE.exit : 0;
    output.json({
      event: "result",
      result: hasFailed ? "failed" : "complete",
      exit,
      transfers: cleaned.length,
      bytes,
    });
    if (!output.wantsJson && cleaned.length === 0) output.say("nothing is left of interrupted transfers");
    process.exitCode = exit;
  } catch (error) {
    reportFailure(error, output, startedAt);
  }
}
