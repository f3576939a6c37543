/** `godwit serve`: receive into a directory and hand out from it. */
import { Command } from "commander";
import { serve, type Server, type ServerUpdate } from "../../api/serve.ts";
import { counted, formatBytes, formatDuration, formatRate } from "../../base/units.ts";
import { replaceFile } from "../../node/stores/atomic-file.ts";
import { FailureLines } from "../failure-lines.ts";
import { jsonEvent, reportFailure } from "../follow.ts";
import {
  addCommonOptions,
  addNetworkOptions,
  addStatsOption,
  networkOptions,
  type NetworkFlags,
} from "../options.ts";
import { shown, Output } from "../output.ts";
import { statisticsLines } from "../render/statistics.ts";
import { watchSignals } from "../signals.ts";

interface ServeFlags extends NetworkFlags {
  readonly listen?: string;
  readonly once?: boolean;
  readonly open?: boolean;
  /** False with --no-code. */
  readonly code: boolean;
  readonly codeFile?: string;
  readonly readOnly?: boolean;
  readonly writeOnly?: boolean;
  /** False with --no-relay. */
  readonly relay: boolean;
}

/** The command. */
export function command(): Command {
  const base = new Command("godwit serve")
    .description(
      "Receive into a directory and hand out from it. For known peers, and for who knows the pairing code that it shows.",
    )
    .argument("[dir]", "directory to serve", ".")
    .option(
      "--listen <where>",
      "[HOST]:PORT to listen on; port 0 asks for a free one (default: all addresses, 4639)",
    )
    .option("--once", "end after one transfer, with its exit status")
    .option("--open", "let unknown peers in (still encrypted)")
    .option("--no-code", "show no pairing code: only peers that are known already may come in")
    .option(
      "--code-file <file>",
      "write the pairing code there, for you alone to read; with --json there is no code without it",
    )
    .option("--read-only", "hand out only")
    .option("--write-only", "receive only")
    .option("--no-relay", "never serve other receivers of a transfer, although its sender asks for it");
  return addCommonOptions(addStatsOption(addNetworkOptions(base))).action(run);
}

async function run(directory: string, flags: ServeFlags): Promise<void> {
  const output = new Output(flags);
  const signals = watchSignals();
  const startedAt = performance.now();
  try {
    const server = await serve({
      ...networkOptions(flags, signals.signal),
      directory,
      listen: flags.listen,
      open: flags.open,
      // A code that nobody is shown lets nobody in; and standard output of a script is often a log.
      pairing: flags.code && flags.open !== true && (!output.wantsJson || flags.codeFile !== undefined),
      once: flags.once,
      readOnly: flags.readOnly,
      writeOnly: flags.writeOnly,
      relay: flags.relay,
    });
    const { fingerprint, code, port, addresses } = server;
    if (flags.codeFile !== undefined && code !== undefined)
      replaceFile(flags.codeFile, Buffer.from(`${code}\n`));
    output.json({ event: "listening", port, addresses, fingerprint, socket: server.socket });
    if (!output.wantsJson) sayWelcome(output, directory, flags, server);
    const failures = new Map<number, FailureLines>();
    for await (const update of server) handle(update, output, flags.stats === true, failures);
    const last = await server.ended;
    const interrupted = signals.exitStatus();
    process.exitCode = interrupted ?? last?.exit ?? 0;
    // The terminal shows ^C where the cursor stands.
    if (interrupted !== undefined) output.say(output.hasTerminal ? "\nended" : "ended");
    if (last !== undefined) {
      output.json({
        event: "result",
        result: last.result,
        exit: last.exit,
        files: last.files,
        bytes: last.bytes,
        root: last.root,
        wireBytes: last.path.wireBytes,
        retransmittedBytes: last.path.retransmittedBytes,
        resumedBytes: last.resumedBytes,
        seconds: last.seconds,
        path: last.path,
        peers: [
          { id: last.peer.fingerprint, address: last.peer.address, result: last.result, exit: last.exit },
        ],
        errors:
          last.error === undefined
            ? last.failures
            : [{ path: last.error.path ?? "", code: last.error.code, text: last.error.message }],
      });
    }
  } catch (error) {
    reportFailure(error, output, startedAt, signals.exitStatus());
  }
}

function sayWelcome(output: Output, directory: string, flags: ServeFlags, server: Server): void {
  const { fingerprint, code, addresses, port } = server;
  const best = (addresses[0] ?? `HOST:${port}`).replace(/:4639$/, "");
  output.say(`serving ${directory} on UDP port ${port}: ${addresses.slice(0, 4).join(", ")}`);
  output.say(`fingerprint ${fingerprint}`);
  if (flags.open === true) output.say("open to everybody who can reach this port");
  else if (code !== undefined) {
    output.say(`pairing code ${code}`);
    output.say("              asked for on first contact; good for one machine and ten minutes");
  } else
    output.say(
      "known peers only; let one in with: godwit peers trust FINGERPRINT (godwit id prints it there)",
    );
  const pin = code === undefined ? ` --pin ${fingerprint}` : "";
  if (flags.readOnly !== true) output.say(`to send here:  godwit send FILE --to ${best}${pin}`);
  if (flags.writeOnly !== true) output.say(`to get:        godwit get ${best}/NAME${pin}`);
}

function handle(
  update: ServerUpdate,
  output: Output,
  wantsStats: boolean,
  failures: Map<number, FailureLines>,
): void {
  switch (update.type) {
    case "peer-refused":
      output.json({ event: "peer-refused", fingerprint: update.fingerprint });
      if (!output.wantsJson) {
        output.say(
          `refused unknown peer ${update.fingerprint}; to let it in: godwit peers trust ${update.fingerprint}`,
        );
      }
      return;
    case "log-stopped":
      output.json({ event: "log-stopped", reason: update.reason });
      if (!output.wantsJson) output.error(`the qlog is not complete: ${shown(update.reason)}`);
      return;
    case "peer-paired":
      output.json({ event: "peer-paired", fingerprint: update.fingerprint });
      if (!output.wantsJson) {
        output.say(
          `paired with ${update.fingerprint}; it needs no code from now on, and the code is used up`,
        );
      }
      return;
    case "code-refused": {
      const { guessesLeft } = update;
      output.json({ event: "code-refused", guessesLeft });
      if (output.wantsJson) return;
      if (guessesLeft > 0)
        output.say(`somebody tried a wrong pairing code; ${counted(guessesLeft, "attempt")} left`);
      else output.error("the pairing code is dead after three wrong ones; start serve again for a new one");
      return;
    }
    case "peer-connected":
      output.json({ event: "peer-connected", connection: update.connection, peer: update.peer });
      return;
    case "peer-event": {
      if (output.wantsJson) {
        const event = jsonEvent(update.event);
        if (event !== undefined) output.json({ ...event, connection: update.connection });
        return;
      }
      const { event, peer, connection } = update;
      if (event.type === "transfer-started")
        failures.set(connection, new FailureLines((line) => output.error(`${peer.address} ${line}`)));
      failures.get(connection)?.handle(event);
      return;
    }
    case "peer-transfer-ended": {
      const { result, peer, connection } = update;
      output.json({
        event: "transfer-ended",
        connection,
        peer,
        result: result.result,
        exit: result.exit,
        files: result.files,
        bytes: result.bytes,
        root: result.root,
        seconds: result.seconds,
        path: result.path,
      });
      if (output.wantsJson) return;
      failures.get(connection)?.end(result.error?.message);
      failures.delete(connection);
      const who = `${peer.address} (${peer.fingerprint})`;
      if (result.error !== undefined) {
        output.error(`${who}: ${shown(result.error.message)}`);
        return;
      }
      const rate =
        result.bytes > 0 && result.seconds > 0 ? ` (${formatRate(result.bytes / result.seconds)})` : "";
      output.say(
        `${who}: ${result.result}, ${counted(result.files, "file")}, ${formatBytes(result.bytes)} in ${formatDuration(result.seconds * 1e6)}${rate}`,
      );
      if (wantsStats) for (const line of statisticsLines(result.path)) output.say(line);
    }
  }
}
