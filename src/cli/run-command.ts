/** Runs one parsed command and turns every way it can end into one sentence and an exit status. */
import { CommanderError, type Command } from "commander";
import { ERRORS, GodwitError } from "../base/errors.ts";
import { printable } from "../files/printable.ts";

/** Exit status of `error`: that of its code, 1 for anything unforeseen. */
export function exitStatusOf(error: unknown): number {
  return error instanceof GodwitError ? error.exit : ERRORS.INTERNAL.exit;
}

/** The sentence for `error`: its message, and for the unforeseen where to report it. */
export function sentenceOf(error: unknown): string {
  if (error instanceof GodwitError) return printable(error.message);
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `internal error, please report it with this text: ${text}`;
}

/** Parses `argv` with `command`, runs it, and sets the process's exit status. Never throws. */
export async function runCommand(command: Command, argv: readonly string[]): Promise<void> {
  prepare(command);
  // A reader that went away (`| head -1`) must not end a transfer.
  process.stdout.on("error", ignoreClosedPipe);
  process.stderr.on("error", ignoreClosedPipe);
  try {
    await command.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : ERRORS.USAGE.exit;
      return;
    }
    process.stderr.write(`godwit: ${sentenceOf(error)}\n`);
    process.exitCode = exitStatusOf(error);
  }
}

/** Commander hands settings on only to sub-commands made later, so they are set on each. */
function prepare(command: Command): void {
  command.exitOverride();
  command.configureOutput({
    writeErr: (text) => process.stderr.write(text.replace(/^error: /, "godwit: ")),
  });
  for (const sub of command.commands) prepare(sub);
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}
