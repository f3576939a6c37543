/**
 * What a link does to datagrams: a plain record, so that a scenario, a regression and a command line
 * can all hold one. Zero means "off" or "no limit" for every number.
 */
import { GodwitError } from "../base/errors.ts";

/** A change of the configuration at a moment of the link's life. */
export interface LinkChange {
  /** Microseconds since the link began. */
  readonly atUs: number;
  readonly set: Partial<Omit<LinkConfig, "changes">>;
}

/** A span during which nothing leaves the link. */
export interface Blackhole {
  /** Microseconds since the link began. */
  readonly fromUs: number;
  readonly untilUs: number;
}

/** One direction of a path. Probabilities are per datagram, in [0, 1]. */
export interface LinkConfig {
  /** Serialisation rate in bytes per second; 0: unlimited. */
  readonly rateBytesPerSecond: number;
  /** Bytes that may wait, the one being sent included; 0: 100 ms at the rate, at least 64 KiB. */
  readonly queueBytes: number;
  /** Datagrams that may wait, the one being sent included; 0: no limit. */
  readonly queueDatagrams: number;
  /** Bytes a datagram takes on the wire beyond its payload; 28 for IPv4 and UDP. */
  readonly overheadBytes: number;
  /** Largest UDP payload that passes; larger ones vanish. 0: no limit. */
  readonly mtuBytes: number;

  /** Propagation delay. */
  readonly delayUs: number;
  /** Extra delay, uniform in ±jitterUs, never below zero in all; order is kept. */
  readonly jitterUs: number;
  /** How long one jitter value holds; 0: each datagram draws its own. */
  readonly jitterPeriodUs: number;
  /** Mean time between stalls; each is uniform in 0.5 to 1.5 of it. 0: none. */
  readonly stallEveryUs: number;
  /** Length of a stall: what would arrive in it arrives at its end, all at once. */
  readonly stallUs: number;

  /** Independent loss, after serialisation: a lost datagram has used its time on the link. */
  readonly lossProbability: number;
  /** Most datagrams lost in a row by `lossProbability`; 0: no limit. */
  readonly lossRunMax: number;
  /** Bit i set: the i-th datagram of the link is lost, i < 31. */
  readonly lossMask: number;
  /** Gilbert-Elliott: good to bad. */
  readonly burstEnterProbability: number;
  /** Gilbert-Elliott: bad to good. */
  readonly burstLeaveProbability: number;
  /** Gilbert-Elliott: loss while bad. */
  readonly burstLossProbability: number;
  readonly blackholes: readonly Blackhole[];
  /** Period of a repeating blackhole; it begins with the open part. 0: none. */
  readonly blackholeEveryUs: number;
  /** Length of the dark part at the end of each period. */
  readonly blackholeForUs: number;

  /** Held back by `reorderDelayUs`, so that later ones overtake. */
  readonly reorderProbability: number;
  readonly reorderDelayUs: number;
  readonly duplicateProbability: number;
  /** Copies beyond the original. */
  readonly duplicateCopies: number;
  /** One to `corruptBitsMax` bits flipped. */
  readonly corruptProbability: number;
  readonly corruptBitsMax: number;
  /** Most datagrams corrupted in a row; 0: no limit. */
  readonly corruptRunMax: number;
  /** Cut to a random shorter length, possibly zero. */
  readonly truncateProbability: number;
  /** An older datagram of this link follows once more. */
  readonly replayProbability: number;
  /** Random bytes of random length follow. */
  readonly junkProbability: number;
  /** An ECN-capable datagram is marked CE. RFC 3168 §5. */
  readonly markProbability: number;
  /** The ECN mark of a datagram is erased: bleaching. */
  readonly bleachProbability: number;
  /** Queue from which ECN-capable datagrams are marked CE; 0: never. */
  readonly markQueueBytes: number;

  /** Changes in ascending time. */
  readonly changes: readonly LinkChange[];
}

/** A link that does nothing at all: no delay, no limit, no fault. */
export const PERFECT_LINK: LinkConfig = {
  rateBytesPerSecond: 0,
  queueBytes: 0,
  queueDatagrams: 0,
  overheadBytes: 28,
  mtuBytes: 0,
  delayUs: 0,
  jitterUs: 0,
  jitterPeriodUs: 0,
  stallEveryUs: 0,
  stallUs: 0,
  lossProbability: 0,
  lossRunMax: 0,
  lossMask: 0,
  burstEnterProbability: 0,
  burstLeaveProbability: 0,
  burstLossProbability: 1,
  blackholes: [],
  blackholeEveryUs: 0,
  blackholeForUs: 0,
  reorderProbability: 0,
  reorderDelayUs: 0,
  duplicateProbability: 0,
  duplicateCopies: 1,
  corruptProbability: 0,
  corruptBitsMax: 8,
  corruptRunMax: 0,
  truncateProbability: 0,
  replayProbability: 0,
  junkProbability: 0,
  markProbability: 0,
  bleachProbability: 0,
  markQueueBytes: 0,
  changes: [],
};

/** What turns every fault of a link off and leaves rate, queue, delay and MTU as they are. */
export const HEALED: Partial<LinkConfig> = {
  jitterUs: 0,
  stallEveryUs: 0,
  lossProbability: 0,
  lossMask: 0,
  burstEnterProbability: 0,
  blackholes: [],
  blackholeEveryUs: 0,
  reorderProbability: 0,
  duplicateProbability: 0,
  corruptProbability: 0,
  truncateProbability: 0,
  replayProbability: 0,
  junkProbability: 0,
  markProbability: 0,
  bleachProbability: 0,
  changes: [],
};

/** Smallest default queue in bytes: what an operating system gives any interface. */
const QUEUE_FLOOR_BYTES = 64 * 1024;

/** Bytes that may wait in front of the serialiser under a configuration. */
export function queueLimitBytes(config: LinkConfig): number {
  if (config.queueBytes > 0) return config.queueBytes;
  return Math.max(QUEUE_FLOOR_BYTES, config.rateBytesPerSecond / 10);
}

/**
 * Gilbert-Elliott transitions for a mean loss and a mean burst length in datagrams: in the bad state
 * everything is lost, so leaving is 1/length and entering follows from the stationary share of bad.
 */
export function burstLoss(meanLoss: number, lengthDatagrams: number): Partial<LinkConfig> {
  const leave = 1 / lengthDatagrams;
  return {
    burstEnterProbability: Math.min(1, (meanLoss * leave) / (1 - meanLoss)),
    burstLeaveProbability: leave,
    burstLossProbability: 1,
  };
}

const PROBABILITIES = [
  "lossProbability",
  "burstEnterProbability",
  "burstLeaveProbability",
  "burstLossProbability",
  "reorderProbability",
  "duplicateProbability",
  "corruptProbability",
  "truncateProbability",
  "replayProbability",
  "junkProbability",
  "markProbability",
  "bleachProbability",
] as const satisfies readonly (keyof LinkConfig)[];

/**
 * A whole configuration from a part of one.
 * @throws GodwitError CONFIGURATION for a negative or non-finite number, a probability above 1, or
 * changes out of order.
 */
export function linkConfig(part: Partial<LinkConfig>, base: LinkConfig = PERFECT_LINK): LinkConfig {
  const config = { ...base, ...part };
  for (const [name, value] of Object.entries(config)) {
    if (typeof value === "number" && !(value >= 0 && Number.isFinite(value))) {
      throw new GodwitError("CONFIGURATION", `${name} of a link is ${value}; it must be zero or more`);
    }
  }
  for (const name of PROBABILITIES) {
    if (config[name] > 1) {
      throw new GodwitError("CONFIGURATION", `${name} of a link is ${config[name]}; it must be at most 1`);
    }
  }
  for (let i = 1; i < config.changes.length; i++) {
    if (config.changes[i].atUs < config.changes[i - 1].atUs) {
      throw new GodwitError("CONFIGURATION", "the changes of a link must be in ascending time");
    }
  }
  return config;
}
