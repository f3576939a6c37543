/** `godwit id`: this machine's fingerprint. */
import { Command } from "commander";
import { identity } from "../../api/identity.ts";
import { jsonLine } from "../output.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";

/** The command. */
export function command(): Command {
  return addCommonOptions(new Command("godwit id"))
    .description("Print this machine's fingerprint; another machine authorises it with godwit peers trust.")
    .action((options: CommonOptions) => {
      const { fingerprint, home } = identity({ home: options.home });
      process.stdout.write(
        options.json === true ? `${jsonLine({ event: "id", fingerprint, home })}\n` : `${fingerprint}\n`,
      );
    });
}
