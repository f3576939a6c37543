/** `godwit classic fetch`: pull of a file in datagrams of 2048 bytes, the last one shorter. docs/classic/fetch.md */
import { createHash, randomInt } from "node:crypto";
import { Command, Option } from "commander";
import { GodwitError } from "../../base/errors.ts";
import type { ByteSource, ClassicMachine, ClassicOutcome } from "../../classic/machine.ts";
import { sha256Argument } from "./classic-files.ts";
import {
  addCommonOptions,
  bytesArgument,
  portArgument,
  probabilityArgument,
  remotePortArgument,
  runClassic,
  secondsArgument,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions } from "./classic-report.ts";

/** Largest file a client accepts by default, in bytes: 16 GiB, as in the other systems. */
const MAX_SIZE_BYTES = 16 * 1024 ** 3;

interface ServerOptions extends ClassicCommonOptions {
  readonly bind?: string;
  readonly pause?: number;
  readonly silentMissing?: boolean;
  readonly unterminated?: boolean;
  readonly once?: boolean;
  readonly edition: "lab" | "yatfs";
  readonly loss: number;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly idle?: number;
  readonly maxSize: number;
  readonly attempts: number;
  readonly verify?: boolean;
  readonly keepExisting?: boolean;
  readonly digest?: boolean;
  readonly expectSha256?: string;
  readonly edition: "lab" | "yatfs";
  readonly chunk: number;
  readonly fixedChunks?: boolean;
}

const edition = (): Option =>
  new Option("--edition <name>", "lab: the exercise; yatfs: its reliable sibling, which asks piece by piece")
    .choices(["lab", "yatfs"])
    .default("lab");

/** The command with its two roles. */
export function fetchCommand(): Command {
  const fetch = new Command("fetch").description(
    "pull of a file by name in datagrams of 2048 bytes, the last one shorter; nothing is numbered or acknowledged",
  );
  const server = fetch
    .command("server")
    .description("hand out the files of DIR until stopped")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .argument("[dir]", "directory with the files", ".")
    .option("--bind <address>", "listen on this address only (default: all)")
    .option("--pause <seconds>", "pause between two bursts of 32 datagrams (default: 0.002)", secondsArgument)
    .option("--silent-missing", "say nothing about a missing file instead of sending an empty datagram")
    .option("--unterminated", "send no empty last datagram, like servers that never end some files")
    .option("--once", "end after one request, with that transfer's exit status (lab)")
    .addOption(edition())
    .option(
      "--loss <probability>",
      "share of requests left unanswered (yatfs; the original: 0.2)",
      probabilityArgument,
      0,
    )
    .action(runServer);
  const client = fetch
    .command("client")
    .description("fetch REMOTE from HOST PORT and save it as LOCAL")
    .argument("<host>", "name or address of the server")
    .argument("<port>", "UDP port of the server", remotePortArgument)
    .argument("<remote>", "name of the file at the server")
    .argument("<local>", "where to save it")
    .option(
      "--verify",
      "ask for size and SHA-256 at the end and compare; only godwit servers know the question",
    )
    .option("--idle <seconds>", "silence that ends the transfer (default: 2)", secondsArgument)
    .option(
      "--attempts <number>",
      "tries while nothing comes, and with --verify while the file is wrong",
      (text) => wholeNumber(text, 1, 1_000, "a number of attempts"),
      3,
    )
    .addOption(edition())
    .option(
      "--chunk <bytes>",
      "largest piece to ask for (yatfs)",
      (text) => wholeNumber(text, 16, 65_000, "a piece"),
      1_024,
    )
    .option("--fixed-chunks", "always ask for pieces of that size, as the original does (yatfs)")
    .addOption(
      new Option("--max-size <bytes>", "largest file to accept")
        .argParser(bytesArgument)
        .default(MAX_SIZE_BYTES, "16G"),
    )
    .option("--keep-existing", "refuse to replace LOCAL")
    .option("--digest", "print the SHA-256 of the file")
    .option("--expect-sha256 <hex>", "save only contents with this SHA-256", sha256Argument)
    .action(runClient);
  addCommonOptions(server);
  addCommonOptions(client);
  return fetch;
}

async function runServer(port: number, directory: string, options: ServerOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ FetchServer }, { openServedFile }, files, { runDatagramMachine }] = await Promise.all([
      import("../../classic/fetch/fetch-server.ts"),
      import("../../node/classic/served-file.ts"),
      import("./classic-files.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    files.checkDirectory(directory);
    const open = (name: string): ByteSource => openServedFile(directory, name);
    const makeYatfs = async (): Promise<ClassicMachine> => {
      if (options.once)
        throw new GodwitError("USAGE", "--once needs --edition lab: yatfs has no transfers to count");
      const { YatfsServer } = await import("../../classic/fetch/yatfs-server.ts");
      const random = (): number => randomInt(2 ** 32) / 2 ** 32;
      return new YatfsServer({ open, lossProbability: options.loss, random });
    };
    const makeLab = (): ClassicMachine =>
      new FetchServer({
        open,
        createHash: () => createHash("sha256"),
        isSilentWhenMissing: options.silentMissing === true,
        isUnterminated: options.unterminated === true,
        isOnce: options.once === true,
        ...(options.pause === undefined ? {} : { pauseUs: options.pause }),
      });
    const machine = options.edition === "yatfs" ? await makeYatfs() : makeLab();
    return runDatagramMachine(machine, {
      binding: { port, ...(options.bind === undefined ? {} : { host: options.bind }) },
      signal: run.signal,
      onEvent: (event) => {
        if (event.type === "file-sent") {
          run.totals.files++;
          run.totals.bytes += event.doneBytes ?? 0;
        }
        run.handleEvent(event);
      },
      onListening: files.tellListening(run),
    });
  });
}

async function runClient(
  host: string,
  port: number,
  remote: string,
  local: string,
  options: ClientOptions,
): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ FetchClient }, { openByteSink }, files, runner] = await Promise.all([
      import("../../classic/fetch/fetch-client.ts"),
      import("../../node/classic/file-bytes.ts"),
      import("./classic-files.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    const server = await runner.resolvePeer(host, port);
    const once = async (): Promise<ClassicOutcome> => {
      const sink = openByteSink(local, files.sinkOptions(options, run));
      const makeYatfs = async (): Promise<ClassicMachine> => {
        if (options.verify) throw new GodwitError("USAGE", "--verify needs --edition lab");
        const { YatfsClient } = await import("../../classic/fetch/yatfs-client.ts");
        const { chunk: chunkBytes, maxSize: limitBytes } = options;
        const isFixedSize = options.fixedChunks === true;
        return new YatfsClient(
          { server, name: remote, sink, chunkBytes, limitBytes, isFixedSize },
          runner.monotonicUs(),
        );
      };
      const makeLab = (): ClassicMachine =>
        new FetchClient(
          {
            server,
            name: remote,
            sink,
            limitBytes: options.maxSize,
            ...(options.idle === undefined ? {} : { silenceUs: options.idle }),
            ...(options.verify === true ? { createHash: () => createHash("sha256") } : {}),
          },
          runner.monotonicUs(),
        );
      try {
        const machine = options.edition === "yatfs" ? await makeYatfs() : makeLab();
        // A new port each time, so that late datagrams of one try do not get into the next.
        return await runner.runDatagramMachine(machine, {
          binding: runner.localBinding([server]),
          signal: run.signal,
          onEvent: run.handleEvent,
        });
      } finally {
        sink.abort();
      }
    };
    for (let attempt = 1; ; attempt++) {
      const outcome = await once();
      const code = outcome.result === "failed" ? outcome.error.code : undefined;
      const isWorthAnother =
        options.edition === "lab" && (code === "NOT_FOUND" || code === "VERIFICATION_FAILED");
      if (!isWorthAnother || attempt >= options.attempts || run.signal.aborted) return outcome;
      run.note(
        `attempt ${attempt} of ${options.attempts}: ${outcome.result === "failed" ? outcome.error.message : ""}`,
      );
    }
  });
}
