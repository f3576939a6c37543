/** Asks a person about a machine that was never seen before: for its pairing code, or by SSH's rules. */
import { createInterface } from "node:readline/promises";
import { UnknownPeerError } from "../api/dial.ts";
import type { DialOptions } from "../api/options.ts";
import { GodwitError } from "../base/errors.ts";
import type { Output } from "./output.ts";

/** Codes asked for in one run: as many as the other side lets try. */
const CODES_ASKED = 3;

/** What an answer adds to the options of a dial. */
export type Trusted = Pick<DialOptions, "pin" | "code" | "pairAgain">;

/** Whether somebody can be asked: both ends of the terminal are there. */
function canAsk(output: Output): boolean {
  return process.stdin.isTTY && process.stderr.isTTY && !output.wantsJson;
}

/** The answer to a question. @throws GodwitError INTERRUPTED when there is none: Ctrl-C, Ctrl-D, a signal. */
async function ask(question: string, { signal }: DialOptions): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  // While it reads, the terminal hands Ctrl-C over as a character.
  terminal.on("SIGINT", () => process.kill(process.pid, "SIGINT"));
  const noAnswer = new Promise<never>((_, reject) => {
    const leave = (): void => reject(new GodwitError("INTERRUPTED", "interrupted before anything was sent"));
    terminal.once("close", leave);
    signal?.addEventListener("abort", leave, { once: true });
  });
  try {
    return (await Promise.race([terminal.question(question), noAnswer])).trim();
  } finally {
    terminal.close();
  }
}

/**
 * Runs `work`; when the other machine is unknown and a person is there, asks for the pairing code, and
 * without one shows the fingerprint and asks about that. With an answer, `work` runs again.
 *
 * A machine that is known here but does not let this one in is paired with when there is a code.
 */
export async function dialAsking<Result>(
  options: DialOptions,
  output: Output,
  work: (trusted: Trusted) => Promise<Result>,
): Promise<Result> {
  try {
    return await work({ pin: options.pin, code: options.code });
  } catch (error) {
    if (error instanceof GodwitError && error.code === "NOT_AUTHORIZED" && options.code !== undefined) {
      return await work({ pin: options.pin, code: options.code, pairAgain: true });
    }
    if (!(error instanceof UnknownPeerError) || !canAsk(output)) throw error;
    return await askAbout(error, options, output, work);
  }
}

async function askAbout<Result>(
  unknown: UnknownPeerError,
  options: DialOptions,
  output: Output,
  work: (trusted: Trusted) => Promise<Result>,
): Promise<Result> {
  output.error(`${unknown.peer ?? "the other machine"} is not known yet.`);
  for (let asked = 1; ; asked++) {
    const code = await ask("Pairing code that godwit serve shows there (Enter for none): ", options);
    if (code === "") break;
    try {
      return await work({ code });
    } catch (error) {
      const isWrong = error instanceof GodwitError && error.code === "WRONG_CODE";
      if (!isWrong || asked === CODES_ASKED) throw error;
      output.error(error.message);
    }
  }
  output.error(`Its fingerprint is\n  ${unknown.fingerprint}`);
  const answer = await ask("Is it the one that godwit id prints there? [yes/no] ", options);
  if (!/^y(?:es)?$/i.test(answer)) throw unknown;
  return await work({ pin: unknown.fingerprint });
}
