/** `godwit verify`: checks a signed receipt, and files against it. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { listPeers } from "../../api/peers.ts";
import { verifyReceipt, type ReceiptVerdict } from "../../api/verify-receipt.ts";
import { ERRORS, GodwitError } from "../../base/errors.ts";
import { errnoText } from "../../files/disk-errors.ts";
import { counted, formatBytes } from "../../base/units.ts";
import { reportFailure } from "../follow.ts";
import { addCommonOptions, type CommonOptions } from "../options.ts";
import { Output, shown } from "../output.ts";

type VerifyFlags = CommonOptions & { readonly by?: string };

/** The command. */
export function command(): Command {
  const base = new Command("godwit verify")
    .description(
      "Check who signed a receipt and that it was not changed; with DIR also that the files there are those of the receipt. Status 0: all of it holds; 7: the signature does not; 8: files differ.",
    )
    .argument("<receipt>", "file that godwit send --receipt wrote")
    .argument("[dir]", "directory with the entries under the paths they were sent as")
    .option("--by <fingerprint>", "the receiver that must have signed");
  return addCommonOptions(base).action(run);
}

async function run(file: string, directory: string | undefined, flags: VerifyFlags): Promise<void> {
  const output = new Output(flags);
  const startedAt = performance.now();
  try {
    const verdict = await verifyReceipt(readReceipt(file), { directory, by: flags.by });
    const isSame = verdict.differences.length === 0;
    const exit = isSame ? 0 : ERRORS.VERIFICATION_FAILED.exit;
    output.json({ event: "result", result: isSame ? "complete" : "failed", exit, ...verdict });
    if (!output.wantsJson) say(verdict, flags, output);
    process.exitCode = exit;
  } catch (error) {
    reportFailure(error, output, startedAt);
  }
}

function readReceipt(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new GodwitError(
      "NOT_FOUND",
      `cannot read the receipt ${shown(file)}: ${errnoText((cause as NodeJS.ErrnoException).code ?? "EIO")}`,
      { path: file, cause },
    );
  }
}

function say(verdict: ReceiptVerdict, flags: VerifyFlags, output: Output): void {
  const known = listPeers({ home: flags.home }).find(({ fingerprint }) => fingerprint === verdict.receiver);
  const name = known?.name === undefined ? known?.addresses.at(-1) : `@${known.name}`;
  const who = known === undefined ? "not a known peer here" : `known here as ${name ?? "a peer"}`;
  output.say(`signed by ${verdict.receiver} (${who})`);
  output.say(
    `${counted(verdict.files, "file")}, ${formatBytes(verdict.bytes)}, flushed ${verdict.flushedAt}, root ${verdict.root}`,
  );
  for (const { path, text } of verdict.differences) output.error(`${shown(path)} ${shown(text)}`);
  if (verdict.compared === 0) return;
  const { length } = verdict.differences;
  if (length === 0) output.say(`${counted(verdict.compared, "entry", "entries")} compared: all as signed`);
  else output.error(`${length} of ${verdict.compared} entries are not as signed`);
}
