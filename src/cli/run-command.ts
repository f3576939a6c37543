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
    outputError: (text, write) => write(`godwit: ${printable(usageSentence(text, fullName(command)))}\n`),
  });
  for (const sub of command.commands) prepare(sub);
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

/** Commander's words for a wrong command line as one sentence. What says nothing of the cure gets where to look. */
export function usageSentence(text: string, command: string): string {
  const plain = text
    .trim()
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean ([^)]*)\?\)$/, "; did you mean $1?");
  const invalid =
    /^(?:option '(?:-\w, )?(--[\w-]+)[^']*' argument|command-argument value) '([^]*)' is invalid(?: for argument '([^']*)')?\. ([^]*)$/.exec(
      plain,
    );
  if (invalid === null) return `${plain.replace(/\.$/, "")}; see ${command} --help`;
  const [, option, value, argument, reason] = invalid;
  const cause = reason
    .replace(/\.$/, "")
    .replace(/^Allowed choices are/, `${JSON.stringify(value)} is not one of`);
  return `${option ?? argument.toUpperCase()}: ${cause}`;
}
