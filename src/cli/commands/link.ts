/** `godwit link LISTEN TARGET`: a UDP relay that behaves like a bad network. docs/guide/link.md */
import { Command, Option } from "commander";
import { GodwitError } from "../../base/errors.ts";
import { parseDurationUs } from "../../base/units.ts";
import { openLinkRelay } from "../../node/link-relay.ts";
import type { LinkRelay, RelayAddress } from "../../node/link-relay.ts";
import { splitHostPort } from "../../node/sockets/address-text.ts";
import { jsonLine } from "../output.ts";
import { LINK_OPTIONS, parseLinkOptions } from "../link-options.ts";

/** Where the relay listens when only a port is given: it passes on whatever it is sent. */
const DEFAULT_HOST = "127.0.0.1";

interface LinkValues {
  readonly seed?: string;
  readonly rebind?: string;
  readonly for?: string;
  readonly statsEvery?: string;
  readonly precise?: boolean;
}

/** The command, without a parent. */
export function command(): Command {
  const command = new Command("godwit link")
    .description("Pass UDP datagrams on as a bad network would: lossy, slow, jittery, reordering, rebinding.")
    .argument("<listen>", "PORT or HOST:PORT to listen on (a bare port listens on this machine only)")
    .argument("<target>", "HOST:PORT to pass datagrams on to");
  for (const { name, value, text } of LINK_OPTIONS) {
    command.option(`--${name} <${value}>`, text);
    for (const direction of ["up", "down"]) {
      command.addOption(new Option(`--${direction}-${name} <${value}>`, text).hideHelp());
    }
  }
  return command
    .option("--rebind <TIME>", "each client appears at another port this often, as behind a forgetful NAT")
    .option("--seed <N>", "decides every random choice (default 1)")
    .option("--for <TIME>", "end by itself after this time")
    .option("--stats-every <TIME>", "print statistics this often")
    .option("--precise", "spin instead of sleeping for the last millisecond: exact, but takes a whole core")
    .addHelpText(
      "after",
      "\nEach option for both directions; --up-NAME and --down-NAME for one (up: towards\n" +
        "the target). Statistics are JSON on standard output: at the end, on SIGUSR1, and\n" +
        "with --stats-every.\n\n" +
        "  godwit link 5000 192.0.2.7:4639 --loss 5% --delay 40ms --rate 50mbit",
    )
    .action(runLink);
}

async function runLink(
  listenText: string,
  targetText: string,
  _options: object,
  command: Command,
): Promise<void> {
  const values = command.opts<LinkValues>();
  const relay = await openLinkRelay({
    listen: parseListen(listenText),
    target: parseTarget(targetText),
    up: parseLinkOptions(flatten(command), "up"),
    down: parseLinkOptions(flatten(command), "down"),
    seed: parseSeed(values.seed ?? "1"),
    rebindEveryUs: values.rebind === undefined ? 0 : parseDurationUs(values.rebind),
    isPrecise: values.precise === true,
  });
  const runForUs = values.for === undefined ? undefined : parseDurationUs(values.for);
  const everyUs = values.statsEvery === undefined ? undefined : parseDurationUs(values.statsEvery);
  print("listening", { port: relay.port, target: targetText });
  const report = (): void => print("statistics", { ...relay.statistics });
  process.on("SIGUSR1", report);
  const timer = everyUs === undefined ? undefined : setInterval(report, everyUs / 1_000);
  const signal = await ended(runForUs);
  clearInterval(timer);
  process.off("SIGUSR1", report);
  await finish(relay, signal);
}

async function finish(relay: LinkRelay, signal: NodeJS.Signals | undefined): Promise<void> {
  const { statistics } = relay;
  await relay.close();
  const exit = signal === undefined ? 0 : signal === "SIGINT" ? 130 : 143;
  process.exitCode = exit;
  print("result", { result: signal === undefined ? "complete" : "interrupted", exit, ...statistics });
}

/** Waits for the end of the time or a signal, which it returns. */
function ended(forUs: number | undefined): Promise<NodeJS.Signals | undefined> {
  return new Promise((resolve) => {
    const timer = forUs === undefined ? undefined : setTimeout(() => end(undefined), forUs / 1_000);
    const end = (signal: NodeJS.Signals | undefined): void => {
      clearTimeout(timer);
      process.off("SIGINT", end);
      process.off("SIGTERM", end);
      resolve(signal);
    };
    process.once("SIGINT", end);
    process.once("SIGTERM", end);
  });
}

function print(event: string, facts: object): void {
  process.stdout.write(`${jsonLine({ event, ...facts })}\n`);
}

/** Options by their names on the command line: commander turns `up-loss` into `upLoss`. */
function flatten(command: Command): Record<string, string | undefined> {
  const values: Record<string, string | undefined> = {};
  for (const option of command.options) {
    const value: unknown = command.getOptionValue(option.attributeName());
    if (typeof value === "string") values[option.name()] = value;
  }
  return values;
}

function parseListen(text: string): RelayAddress {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return { host: DEFAULT_HOST, port: Number(text) };
  const address = splitHostPort(text);
  if (address?.port === undefined) {
    throw new GodwitError("USAGE", `"${text}" is not PORT or HOST:PORT to listen on`);
  }
  return { host: address.host === "" ? DEFAULT_HOST : address.host, port: address.port };
}

function parseTarget(text: string): RelayAddress {
  const address = splitHostPort(text);
  if (address?.port === undefined || address.host === "") {
    throw new GodwitError("USAGE", `"${text}" is not HOST:PORT to pass datagrams on to`);
  }
  return { host: address.host, port: address.port };
}

function parseSeed(text: string): number {
  const seed = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(seed)) {
    throw new GodwitError("USAGE", `--seed takes a whole number, not "${text.slice(0, 40)}"`);
  }
  return seed;
}
