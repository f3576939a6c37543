/** Options that several commands share, with one wording and one default each. */
import { Option, type Command } from "commander";

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
