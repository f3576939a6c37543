/**
 * What goes wrong in one run of the swarm, as plain data. A seed draws a plan; a plan can be stored,
 * replayed and made smaller by hand.
 */
import { SeededRandom } from "../../base/random.ts";
import type { DiskOperationKind } from "../../files/disk.ts";
import type { DiskFaults } from "../disk-faults.ts";
import { HEALTHY_DISK } from "../disk-faults.ts";
import type { LinkConfig } from "../link-config.ts";
import { burstLoss } from "../link-config.ts";

/** The two sides of a transfer. */
export type PlanSide = "sender" | "receiver";

/** Something that happens to one side. */
export interface PlanAction {
  /** Microseconds after the beginning. */
  readonly atUs: number;
  readonly side: PlanSide;
  readonly kind: "rebind" | "move" | "pause" | "kill" | "power-cut";
  /** How long a pause or the time until the restart takes. */
  readonly spanUs: number;
}

/** The receiver dies between an operation of its disk and the next: where order matters. */
export interface PlanDiskAction {
  readonly kind: "kill" | "power-cut";
  /** It dies when this operation was carried out for the `atCall`-th time, before it hears of it. */
  readonly operation: DiskOperationKind;
  readonly atCall: number;
  /** Microseconds until the restart. */
  readonly spanUs: number;
}

/** One run. */
export interface SwarmPlan {
  readonly seed: number;
  /** Bytes of each file or object. */
  readonly sizes: readonly number[];
  /** Sender to receiver. */
  readonly up: Partial<LinkConfig>;
  /** Receiver to sender. */
  readonly down: Partial<LinkConfig>;
  readonly actions: readonly PlanAction[];
  /** When all faults end, in microseconds after the beginning. */
  readonly healAtUs: number;
  /** Name of the congestion controller. */
  readonly controller: string;
  /** Packets under one key before an update: small ones exercise updates. */
  readonly keyUpdatePackets: number;
  /** First receive window for file data. */
  readonly receiveWindowBytes: number;
  readonly disks: Readonly<Record<PlanSide, DiskFaults>>;
  /** The receiver dials and gets, instead of the sender sending. */
  readonly isPull: boolean;
  /** Existing files that are the same are left alone (`--update`). */
  readonly isUpdate: boolean;
  /** Absent in older plans, as what follows: none. */
  readonly diskActions?: readonly PlanDiskAction[];
  /** The files are in a directory that is sent as a tree. */
  readonly isTree?: boolean;
  /** That directory is at the receiver before. */
  readonly isTreeThere?: boolean;
  /** Each attempt names its sources another way: no job finds the journal of the one before. */
  readonly changesCommand?: boolean;
}

/** What a scenario allows to be drawn. */
export interface PlanShape {
  readonly controllers: readonly string[];
  /** Processes may be killed and restarted. */
  readonly hasKills: boolean;
  /** Machines may lose power, disks may fail. */
  readonly hasDisks: boolean;
}

/** Chance of each kind of fault in a run: with a dozen kinds, most runs have three to five. */
const FAULT_CHANCE = 0.3;

/** Largest object of a run in bytes: a swarm is many short runs. */
const LARGEST_OBJECT_BYTES = 1_500_000;

/** How often a run has one file that is larger than what the receiver writes between two checkpoints (4 MiB). */
const LARGE_FILE_CHANCE = 0.015;
const LARGE_FILE_BYTES = [4_500_000, 6_500_000] as const;

/** Rate of such a run in bytes per second: it is about the disk, not about waiting. */
const LARGE_FILE_RATE = 12_500_000;

/** Smallest datagram every path carries, RFC 9000 §14; and what Ethernet carries over IPv4. */
const MTU_RANGE = [1_200, 1_472] as const;

/** A number between the two, evenly in its logarithm: small and large ones equally often. */
function spread(random: SeededRandom, low: number, high: number): number {
  return Math.min(high, Math.floor(low * (high / low) ** random.float()));
}

function drawLink(random: SeededRandom, base: Partial<LinkConfig>, healAtUs: number): Partial<LinkConfig> {
  const delayUs = base.delayUs ?? 0;
  let link: Partial<LinkConfig> = { ...base };
  const add = (part: () => Partial<LinkConfig>): void => {
    const drawn = part();
    if (random.chance(FAULT_CHANCE)) link = { ...link, ...drawn };
  };
  add(() => ({ lossProbability: spread(random, 1, 300) / 1_000 }));
  add(() => burstLoss(spread(random, 2, 150) / 1_000, random.integer(2, 30)));
  add(() => ({ jitterUs: random.integer(0, delayUs + 5_000), jitterPeriodUs: random.pick([0, 0, 100_000]) }));
  add(() => ({
    reorderProbability: spread(random, 10, 500) / 1_000,
    reorderDelayUs: spread(random, 200, 3 * delayUs + 20_000),
  }));
  add(() => ({
    duplicateProbability: spread(random, 10, 500) / 1_000,
    duplicateCopies: random.pick([1, 1, 1, 9]),
  }));
  add(() => ({ corruptProbability: spread(random, 5, 300) / 1_000 }));
  add(() => ({ truncateProbability: spread(random, 2, 100) / 1_000 }));
  add(() => ({ replayProbability: spread(random, 10, 500) / 1_000 }));
  add(() => ({ junkProbability: spread(random, 10, 500) / 1_000 }));
  add(() => ({ mtuBytes: random.integer(...MTU_RANGE) }));
  add(() => ({ stallEveryUs: random.integer(500_000, 5_000_000), stallUs: random.integer(50_000, 500_000) }));
  add(() => {
    const fromUs = random.integer(0, healAtUs);
    return { blackholes: [{ fromUs, untilUs: fromUs + spread(random, 50_000, 90_000_000) }] };
  });
  add(() => {
    const blackholeForUs = spread(random, 100_000, 5_000_000);
    return { blackholeEveryUs: blackholeForUs + spread(random, 500_000, 5_000_000), blackholeForUs };
  });
  add(() => ({
    changes: [
      {
        atUs: random.integer(0, healAtUs),
        set: random.pick([
          { rateBytesPerSecond: Math.floor((base.rateBytesPerSecond ?? 0) / 2) },
          { mtuBytes: random.integer(...MTU_RANGE) },
          { delayUs: spread(random, 100, 300_000) },
        ]),
      },
    ],
  }));
  return link;
}

/** What becomes of ECN marks: set by chance or by a growing queue, or erased. */
function drawMarks(random: SeededRandom): Partial<LinkConfig> {
  const share = spread(random, 1, 1_000) / 1_000;
  const markQueueBytes = random.integer(3_000, 50_000);
  if (!random.chance(FAULT_CHANCE)) return {};
  return random.pick([{ markProbability: share }, { bleachProbability: share }, { markQueueBytes }]);
}

function drawActions(random: SeededRandom, shape: PlanShape, healAtUs: number): PlanAction[] {
  const actions: PlanAction[] = [];
  // One side moves: two that change their addresses at once cannot find each other again, by nature.
  const mobile = random.chance(0.8) ? "sender" : "receiver";
  const add = (kind: PlanAction["kind"], most: number, longestUs: number): void => {
    const isOn = random.chance(FAULT_CHANCE);
    const count = random.integer(1, most);
    for (let i = 0; i < count; i++) {
      const atUs = spread(random, 1_000, healAtUs);
      const isMove = kind === "rebind" || kind === "move";
      const side = isMove ? mobile : random.pick(["sender", "receiver"] as const);
      const spanUs = spread(random, 1_000, longestUs);
      if (isOn) actions.push({ atUs, side, kind, spanUs });
    }
  };
  add("rebind", 5, 1_000);
  add("move", 2, 1_000);
  add("pause", 3, 40_000_000);
  if (shape.hasKills) add("kill", 2, 5_000_000);
  if (shape.hasDisks) add("power-cut", 1, 5_000_000);
  return actions.sort((a, b) => a.atUs - b.atUs);
}

function drawDisk(random: SeededRandom, side: PlanSide, totalBytes: number): DiskFaults {
  let faults: DiskFaults = HEALTHY_DISK;
  const add = (part: () => Partial<DiskFaults>): void => {
    const drawn = part();
    if (random.chance(FAULT_CHANCE / 2)) faults = { ...faults, ...drawn };
  };
  add(() => ({ shortReadProbability: random.float() }));
  add(() => ({
    calls: [
      {
        kind: random.pick(["read", "open-source", "lstat", "stat-file"] as const),
        atCall: spread(random, 1, 30),
        errno: "EIO",
      },
    ],
  }));
  if (side === "sender") return faults;
  add(() => ({ shortWriteProbability: random.float() }));
  add(() => ({ hasNoLinks: true }));
  add(() => ({ capacityBytes: random.integer(1, totalBytes + 200_000) }));
  add(() => ({
    calls: [
      {
        kind: random.pick([
          "write",
          "sync-data",
          "sync-file",
          "sync-directory",
          "create-staging",
          "link",
          "close-file",
          "make-directory",
          "truncate",
        ] as const),
        atCall: spread(random, 1, 30),
        errno: "EIO",
      },
    ],
  }));
  return faults;
}

/** Operations whose order decides what a crash leaves. */
const ORDERED_OPERATIONS = [
  "create-staging",
  "write",
  "sync-data",
  "sync-file",
  "link",
  "rename",
  "unlink",
  "sync-directory",
  "make-directory",
] as const;

function drawDiskActions(random: SeededRandom): PlanDiskAction[] {
  if (!random.chance(FAULT_CHANCE)) return [];
  return [
    {
      kind: random.pick(["kill", "power-cut"] as const),
      operation: random.pick(ORDERED_OPERATIONS),
      atCall: spread(random, 1, 12),
      spanUs: spread(random, 1_000, 1_000_000),
    },
  ];
}

/** How often the files are a tree, and how often each attempt is another command. */
const TREE_CHANCE = 0.25;
const CHANGED_COMMAND_CHANCE = 0.15;

/** The plan of a seed. The same seed and shape give the same plan. */
export function drawPlan(seed: number, shape: PlanShape): SwarmPlan {
  const random = new SeededRandom(seed, "plan");
  const base = {
    rateBytesPerSecond: spread(random, 60_000, 25_000_000),
    delayUs: spread(random, 100, 300_000),
  };
  const datagrams = random.pick([5, 25, 100]);
  const base2 = {
    ...base,
    ...(random.chance(0.3) ? { queueDatagrams: datagrams, queueBytes: datagrams * 1_500 } : {}),
  };
  const healAtUs = spread(random, 200_000, 30_000_000);
  const sizes = Array.from({ length: random.pick([1, 1, 1, 2, 5]) }, () =>
    random.chance(0.1) ? random.integer(0, 3) : spread(random, 100, LARGEST_OBJECT_BYTES),
  );
  // Now and then a file large enough for checkpoints of the journal, over a path that is quick enough.
  const large = new SeededRandom(seed, "plan/large");
  if (shape.hasDisks && large.chance(LARGE_FILE_CHANCE)) {
    sizes.splice(0, sizes.length, large.integer(...LARGE_FILE_BYTES));
    Object.assign(base2, { rateBytesPerSecond: LARGE_FILE_RATE });
  }
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  const disks = new SeededRandom(seed, "plan/disk-actions");
  const marks = new SeededRandom(seed, "plan/marks");
  return {
    seed,
    sizes,
    ...(shape.hasDisks
      ? {
          diskActions: drawDiskActions(disks),
          isTree: disks.chance(TREE_CHANCE),
          changesCommand: disks.chance(CHANGED_COMMAND_CHANCE),
          isTreeThere: disks.chance(0.5),
        }
      : {}),
    up: { ...drawLink(new SeededRandom(seed, "plan/up"), base2, healAtUs), ...drawMarks(marks) },
    down: { ...drawLink(new SeededRandom(seed, "plan/down"), base2, healAtUs), ...drawMarks(marks) },
    actions: drawActions(new SeededRandom(seed, "plan/actions"), shape, healAtUs),
    healAtUs,
    controller: random.pick(shape.controllers),
    keyUpdatePackets: random.pick([50, 200, 1_000, 1_000_000]),
    receiveWindowBytes: random.pick([600_000, 2_000_000, 16_777_216]),
    disks: shape.hasDisks
      ? {
          sender: drawDisk(new SeededRandom(seed, "plan/disk/sender"), "sender", totalBytes),
          receiver: drawDisk(new SeededRandom(seed, "plan/disk/receiver"), "receiver", totalBytes),
        }
      : { sender: HEALTHY_DISK, receiver: HEALTHY_DISK },
    isPull: shape.hasDisks && random.chance(0.4),
    isUpdate: true,
  };
}

/**
 * Virtual time a run may take after its faults have ended: 10 × (size / rate + 20 RTT) + 60 s.
 * (docs/design/simulator.md)
 */
export function livenessBoundUs(plan: SwarmPlan): number {
  const totalBytes = plan.sizes.reduce((sum, size) => sum + size, 0);
  const rate = Math.max(1, Math.min(rateOf(plan.up), rateOf(plan.down)));
  const rttUs = delayOf(plan.up) + delayOf(plan.down);
  return 10 * ((totalBytes * 1e6) / rate + 20 * rttUs) + 60_000_000;
}

function rateOf(link: Partial<LinkConfig>): number {
  const rates = [
    link.rateBytesPerSecond ?? 0,
    ...(link.changes ?? []).map(({ set }) => set.rateBytesPerSecond ?? 0),
  ];
  return Math.min(...rates.filter((rate) => rate > 0), 1e9);
}

function delayOf(link: Partial<LinkConfig>): number {
  return Math.max(link.delayUs ?? 0, ...(link.changes ?? []).map(({ set }) => set.delayUs ?? 0));
}
