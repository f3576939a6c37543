/**
 * What `godwit link` can do to datagrams, as options: one table, read by the parser, the help and the
 * `--at` changes. Values are parsed here and nowhere else.
 */
import { GodwitError } from "../base/errors.ts";
import { parseBytes, parseDurationUs, parseProbability, parseRate } from "../base/units.ts";
import { burstLoss } from "../sim/link-config.ts";
import type { LinkChange, LinkConfig } from "../sim/link-config.ts";

/** One option of a link direction. */
export interface LinkOption {
  /** Without dashes; `--up-NAME` and `--down-NAME` exist for every one. */
  readonly name: string;
  readonly value: string;
  readonly text: string;
  /** @throws GodwitError USAGE. */
  parse(text: string): Partial<LinkConfig>;
}

/** All options of a link direction, in the order of the help. */
export const LINK_OPTIONS: readonly LinkOption[] = [
  {
    name: "delay",
    value: "TIME",
    text: "one-way delay: 40ms each way is a round trip of 80 ms",
    parse: (text) => ({ delayUs: parseDurationUs(text) }),
  },
  {
    name: "jitter",
    value: "TIME[:PERIOD]",
    text: "delay varies by up to this much either way, order kept; PERIOD: how long one value holds",
    parse: (text) => {
      const [jitter, period] = parts("jitter", text, 1, 2);
      return {
        jitterUs: parseDurationUs(jitter),
        jitterPeriodUs: period === undefined ? 0 : parseDurationUs(period),
      };
    },
  },
  {
    name: "rate",
    value: "RATE",
    text: "bottleneck, counted in IP bytes",
    parse: (text) => ({ rateBytesPerSecond: parseRate(text) }),
  },
  {
    name: "queue",
    value: "SIZE",
    text: "bytes that may wait for the bottleneck, or datagrams as 25p (default 100 ms at the rate)",
    parse: (text) => {
      const datagrams = /^(\d+)p$/i.exec(text.trim());
      if (datagrams === null) return { queueBytes: positive("queue", text, parseBytes(text)) };
      return {
        // The count is the limit: the largest datagrams of the internet must fit that often.
        queueBytes: Number(datagrams[1]) * 65_535,
        queueDatagrams: positive("queue", text, Number(datagrams[1])),
      };
    },
  },
  {
    name: "mtu",
    value: "BYTES",
    text: "datagrams with a larger payload vanish",
    parse: (text) => ({ mtuBytes: parseBytes(text) }),
  },
  {
    name: "loss",
    value: "SHARE[:RUN]",
    text: "random loss; RUN: at most so many in a row",
    parse: (text) => {
      const [share, run] = parts("loss", text, 1, 2);
      return {
        lossProbability: parseProbability(share),
        lossRunMax: run === undefined ? 0 : count("loss", run),
      };
    },
  },
  {
    name: "burst",
    value: "SHARE:LENGTH",
    text: "loss in bursts (Gilbert-Elliott): mean share and mean length in datagrams",
    parse: (text) => {
      const [share, length] = parts("burst", text, 2, 2);
      const mean = parseProbability(share);
      if (mean >= 1) throw new GodwitError("USAGE", "--burst cannot lose everything; use --outage for that");
      return burstLoss(mean, positive("burst", text, count("burst", length)));
    },
  },
  {
    name: "reorder",
    value: "SHARE:TIME",
    text: "held back by TIME, so that later ones overtake",
    parse: (text) => {
      const [share, late] = parts("reorder", text, 2, 2);
      return { reorderProbability: parseProbability(share), reorderDelayUs: parseDurationUs(late) };
    },
  },
  {
    name: "duplicate",
    value: "SHARE[:COPIES]",
    text: "delivered again, COPIES times (default 1)",
    parse: (text) => {
      const [share, copies] = parts("duplicate", text, 1, 2);
      return {
        duplicateProbability: parseProbability(share),
        duplicateCopies: copies === undefined ? 1 : count("duplicate", copies),
      };
    },
  },
  {
    name: "corrupt",
    value: "SHARE[:BITS]",
    text: "1 to BITS bits flipped (default 8); the UDP checksum is valid all the same",
    parse: (text) => {
      const [share, bits] = parts("corrupt", text, 1, 2);
      return {
        corruptProbability: parseProbability(share),
        corruptBitsMax: bits === undefined ? 8 : positive("corrupt", text, count("corrupt", bits)),
      };
    },
  },
  {
    name: "truncate",
    value: "SHARE",
    text: "cut to a random shorter length",
    parse: (text) => ({ truncateProbability: parseProbability(text) }),
  },
  {
    name: "replay",
    value: "SHARE",
    text: "an older datagram follows once more",
    parse: (text) => ({ replayProbability: parseProbability(text) }),
  },
  {
    name: "junk",
    value: "SHARE",
    text: "random bytes follow",
    parse: (text) => ({ junkProbability: parseProbability(text) }),
  },
  {
    name: "stall",
    value: "EVERY:TIME",
    text: "about every EVERY nothing arrives for TIME, then all at once (radio links)",
    parse: (text) => {
      const [every, time] = parts("stall", text, 2, 2);
      return { stallEveryUs: parseDurationUs(every), stallUs: parseDurationUs(time) };
    },
  },
  {
    name: "blackhole",
    value: "OPEN:DARK",
    text: "again and again: open for OPEN, then everything lost for DARK",
    parse: (text) => {
      const [open, dark] = parts("blackhole", text, 2, 2);
      const darkUs = parseDurationUs(dark);
      return { blackholeEveryUs: parseDurationUs(open) + darkUs, blackholeForUs: darkUs };
    },
  },
  {
    name: "outage",
    value: "START:TIME[,...]",
    text: "everything lost for TIME, beginning START after the start",
    parse: (text) => ({
      blackholes: text.split(",").map((one) => {
        const [start, time] = parts("outage", one, 2, 2);
        const fromUs = parseDurationUs(start);
        return { fromUs, untilUs: fromUs + parseDurationUs(time) };
      }),
    }),
  },
  {
    name: "at",
    value: "TIME:NAME=VALUE[,...]",
    text: "from TIME on other values, as 10s:rate=25mbit,loss=1%; may be repeated, separated by blanks",
    parse: (text) => ({ changes: text.trim().split(/\s+/).map(parseChange) }),
  },
];

const byName = new Map(LINK_OPTIONS.map((option) => [option.name, option]));

function parseChange(text: string): LinkChange {
  const colon = text.indexOf(":");
  if (colon < 0) throw usage("at", text);
  let set: Partial<LinkConfig> = {};
  for (const assignment of text.slice(colon + 1).split(",")) {
    const equals = assignment.indexOf("=");
    const option = byName.get(assignment.slice(0, equals));
    if (option === undefined || option.name === "at") throw usage("at", text);
    set = { ...set, ...option.parse(assignment.slice(equals + 1)) };
  }
  return { atUs: parseDurationUs(text.slice(0, colon)), set };
}

function parts(name: string, text: string, least: number, most: number): string[] {
  const found = text.split(":");
  if (found.length < least || found.length > most) throw usage(name, text);
  return found;
}

function count(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text.trim())) throw usage(name, text);
  return Number(text);
}

function positive(name: string, text: string, value: number): number {
  if (value <= 0) throw usage(name, text);
  return value;
}

function usage(name: string, text: string): GodwitError {
  const value = byName.get(name)?.value ?? "";
  return new GodwitError(
    "USAGE",
    `--${name} does not understand "${text.slice(0, 60)}"; write it as ${value}`,
  );
}

function parseNamed(option: LinkOption, text: string): Partial<LinkConfig> {
  try {
    return option.parse(text);
  } catch (error) {
    if (!(error instanceof GodwitError) || error.message.startsWith("--")) throw error;
    throw new GodwitError("USAGE", `--${option.name}: ${error.message}`);
  }
}

/**
 * One direction's configuration from options by name: `NAME` counts for both directions,
 * `DIRECTION-NAME` for one and wins.
 *
 * @throws GodwitError USAGE naming the option.
 */
export function parseLinkOptions(
  values: Readonly<Record<string, string | undefined>>,
  direction: "up" | "down",
): Partial<LinkConfig> {
  let config: Partial<LinkConfig> = {};
  for (const option of LINK_OPTIONS) {
    const text = values[`${direction}-${option.name}`] ?? values[option.name];
    if (text !== undefined) config = { ...config, ...parseNamed(option, text) };
  }
  return config;
}
