/** Options that several commands share, with one wording and one default each. */
import { InvalidArgumentError, Option, type Command } from "commander";
import type { ControllerName, DialOptions, NetworkOptions } from "../api/options.ts";
import type { PushOptions } from "../api/send.ts";
import { GodwitError } from "../base/errors.ts";
import { pairingCode } from "./pairing-code.ts";
import { parseDurationUs, parseRate } from "../base/units.ts";

/** Options every command knows. */
export interface CommonOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly home?: string;
}

/** Adds `--json`, `--quiet` and `--home`. */
export function addCommonOptions(command: Command): Command {
  return command
    .addOption(new Option("--json", "one JSON event a line on standard output, nothing else there"))
    .addOption(new Option("-q, --quiet", "no progress, errors only"))
    .addOption(
      new Option(
        "--home <dir>",
        "identity, known peers and resume state (default: by the platform, or GODWIT_HOME)",
      ),
    );
}

/** Turns a parser's usage error into the one that commander prints with the option's name. */
export function argument<Value>(parse: (text: string) => Value): (text: string) => Value {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      if (error instanceof GodwitError) throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}

/** A parser that refuses 0 as well. */
export function aboveZero(parse: (text: string) => number): (text: string) => number {
  return (text) => {
    const value = parse(text);
    if (value > 0) return value;
    throw new GodwitError("USAGE", `"${text.slice(0, 40)}" is nothing; give more than 0`);
  };
}

/** Options of everything that moves data. */
export interface NetworkFlags extends CommonOptions {
  readonly rate?: number;
  readonly cc: ControllerName;
  readonly polite?: boolean;
  readonly patience: number;
  readonly stats?: boolean;
  readonly qlog?: string;
}

/** Adds `--rate`, `--cc`, `--polite`, `--patience` and `--qlog`. */
export function addNetworkOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--rate <rate>", "never send faster than this, such as 50mbit or 6MB/s").argParser(
        argument(aboveZero(parseRate)),
      ),
    )
    .addOption(
      new Option("--cc <controller>", "congestion controller")
        .choices(["bbr", "cubic", "newreno"])
        .default("bbr"),
    )
    .addOption(new Option("--polite", "yield to other traffic"))
    .addOption(
      new Option("--patience <time>", "give up after this long without progress")
        .argParser(argument(aboveZero(parseDurationUs)))
        .default(60_000_000, "60s"),
    )
    .addOption(new Option("--qlog <dir>", "log every packet of each connection there, for viewers of qlog"));
}

/** Adds `--stats`, for commands that move files. */
export function addStatsOption(command: Command): Command {
  return command.option("--stats", "explain the path at the end");
}

/** The library's options for the flags. */
export function networkOptions(flags: NetworkFlags, signal: AbortSignal): NetworkOptions {
  return {
    home: flags.home,
    rateBytesPerSecond: flags.rate,
    controller: flags.polite === true ? "polite" : flags.cc,
    patienceUs: flags.patience,
    qlog: flags.qlog,
    signal,
  };
}

/** Options of everything that dials. */
export interface TrustFlags {
  readonly pin?: string;
  readonly acceptNew?: boolean;
  readonly codeFile?: string;
}

/** Adds `--pin`, `--accept-new` and `--code-file`. */
export function addTrustOptions(command: Command): Command {
  return command
    .addOption(new Option("--pin <fingerprint>", "the other machine must have this key"))
    .addOption(new Option("--accept-new", "trust a machine never seen before and remember its key"))
    .addOption(
      new Option(
        "--code-file <file>",
        "file with the pairing code that serve shows (or GODWIT_CODE; else asked for)",
      ),
    );
}

/** The library's options for the flags of a command that dials. */
export function dialOptions(flags: NetworkFlags & TrustFlags, signal: AbortSignal): DialOptions {
  const code = pairingCode(flags.codeFile);
  return { ...networkOptions(flags, signal), pin: flags.pin, acceptNew: flags.acceptNew, code };
}

/** Options about what to do with what is there already, and what to leave out. */
export interface TreeFlags {
  readonly overwrite?: boolean;
  readonly update?: boolean;
  readonly checksum?: boolean;
  readonly links?: boolean;
  readonly sparse?: boolean;
  readonly dryRun?: boolean;
  readonly rules?: { include: boolean; pattern: string }[];
}

/** Adds `--overwrite`, `--update`, `--checksum`, `--links`, `--sparse`, `--dry-run`, `--include`, `--exclude`. */
export function addTreeOptions(command: Command): Command {
  const rules: { include: boolean; pattern: string }[] = [];
  const rule = (include: boolean) => (pattern: string) => {
    rules.push({ include, pattern });
    command.setOptionValue("rules", rules);
    return pattern;
  };
  return command
    .option("--overwrite", "replace existing files, each at once (default: refuse them)")
    .option("--update", "skip files with the same size and time, replace others")
    .option("--checksum", "with --update: compare contents instead of times")
    .option("--links", "transfer symbolic links as links (default: skip them with a notice)")
    .option("--sparse", "leave runs of zeros as holes")
    .option("--dry-run", "say what would happen, change nothing")
    .addOption(
      new Option("--include <pattern>", "transfer what matches; the first matching rule decides").argParser(
        rule(true),
      ),
    )
    .addOption(
      new Option("--exclude <pattern>", "leave out what matches; may be repeated").argParser(rule(false)),
    );
}

/** The library's options for the flags of a command that moves trees. */
export function treeOptions(flags: TreeFlags): PushOptions {
  const { overwrite, update, checksum, links, sparse, dryRun, rules } = flags;
  return { overwrite, update, checksum, links, sparse, dryRun, rules };
}
