/** What a transfer's path was like, and which limit held its rate. */
import { RECEIVE_MEMORY_BYTES } from "../base/limits.ts";
import type { ConnectionStatistics } from "../transport/connection-statistics.ts";
import type { SendLimit } from "../transport/limit-clock.ts";
import { wholeRate, type PathSample } from "./path-history.ts";

/** What held the rate, in words for people. */
export type RateLimit =
  | "path"
  | "rate cap"
  | "receiver window"
  | "receiver disk"
  | "sender disk"
  | "CPU"
  | "small transfer"
  | "handshake"
  | "other side";

/** Facts about the path of one transfer, from the side that made the report. */
export interface PathReport {
  readonly minRttUs: number;
  readonly smoothedRttUs: number;
  readonly rttVariationUs: number;
  /** Share of sent packets that were lost, spurious declarations taken back; 0 to 1. */
  readonly lossFraction: number;
  /** Bytes sent again per byte sent; 0 to 1. */
  readonly retransmittedFraction: number;
  /** UDP payload bytes sent, and those among them that carried bytes sent before. */
  readonly wireBytes: number;
  readonly retransmittedBytes: number;
  readonly receivedWireBytes: number;
  readonly packetsSent: number;
  /** Packets declared lost that arrived after all. */
  readonly spuriousPackets: number;
  /** Packets received behind a later one, and by how many places at most. */
  readonly reorderedPackets: number;
  readonly largestReordering: number;
  readonly probeTimeouts: number;
  /** Whether the path carries ECN marks (`capable`), and packets that arrived marked as congested. */
  readonly ecn: string;
  readonly markedPackets: number;
  readonly datagramBytes: number;
  readonly congestionWindowBytes: number;
  readonly pacingRateBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  readonly controller: string;
  readonly keyUpdates: number;
  readonly pathChanges: number;
  /** What held the rate for most of the time, and the time spent in each limit in microseconds. */
  readonly limit: RateLimit;
  readonly limitedUs: Readonly<Record<SendLimit, number>>;
  /** Verified bytes that waited for the receiver's disk, on average over the transfer. */
  readonly receiverBacklogBytes: number;
  /** Share of the time that this program's main thread was at work; 0 to 1. */
  readonly busyFraction: number;
  /** Window, pacing and round-trip time over the transfer; empty in reports of a running one. */
  readonly history: readonly PathSample[];
}

/** What the report takes from outside the connection. Default: nothing known. */
export interface PathFacts {
  /** This side only received: it knows its own handshake, disk and processor; the rest is for the other one to say. */
  readonly isReceiver?: boolean | undefined;
  /** The user set a rate. */
  readonly isCapped?: boolean | undefined;
  readonly receiverBacklogBytes?: number | undefined;
  readonly busyFraction?: number | undefined;
  readonly history?: readonly PathSample[] | undefined;
}

const LIMIT_NAMES: Readonly<Record<SendLimit, RateLimit>> = {
  congestion: "path",
  pacing: "path",
  "flow-control": "receiver window",
  disk: "sender disk",
  application: "small transfer",
  handshake: "handshake",
};

/** A receiver whose disk keeps up holds next to nothing; one that does not fills the window, so a quarter tells. */
const BACKLOG_OF_SLOW_DISK_BYTES = RECEIVE_MEMORY_BYTES / 4;

/** From this share of its time on, a thread has no time left to send faster: the rest are pauses between turns. */
const BUSY_OF_FULL_CPU = 0.9;

/** Shortest transfer whose thread can be called the limit, in microseconds: starting up is all work. */
const CPU_LEAST_US = 500_000;

/** What held the rate for most of the time. */
export function rateLimit(limitedUs: Readonly<Record<SendLimit, number>>, facts: PathFacts): RateLimit {
  const limits = Object.keys(limitedUs) as SendLimit[];
  const longest = limits.reduce((best, limit) => (limitedUs[limit] > limitedUs[best] ? limit : best));
  const totalUs = limits.reduce((sum, limit) => sum + limitedUs[limit], 0);
  if (longest === "pacing" && facts.isCapped === true) return "rate cap";
  // A receiver sends next to nothing, so that no limit of its sending says anything.
  const waitedForReceiver = longest === "flow-control" || facts.isReceiver === true;
  if (waitedForReceiver && (facts.receiverBacklogBytes ?? 0) >= BACKLOG_OF_SLOW_DISK_BYTES)
    return "receiver disk";
  // Whatever a thread that is never idle seems to wait for, it waits for itself.
  if (longest !== "handshake" && totalUs >= CPU_LEAST_US && (facts.busyFraction ?? 0) >= BUSY_OF_FULL_CPU)
    return "CPU";
  if (longest !== "handshake" && facts.isReceiver === true) return "other side";
  return LIMIT_NAMES[longest];
}

/** Six digits are more than any measurement of a share is worth. */
function fraction(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.round((part / whole) * 1e6) / 1e6;
}

/** The report of a connection. */
export function pathReport(statistics: ConnectionStatistics, facts: PathFacts = {}): PathReport {
  const lost = Math.max(statistics.packetsLost - statistics.packetsSpurious, 0);
  return {
    minRttUs: Math.round(statistics.minRttUs),
    smoothedRttUs: Math.round(statistics.smoothedRttUs),
    rttVariationUs: Math.round(statistics.rttVariationUs),
    lossFraction: fraction(lost, statistics.packetsSent),
    retransmittedFraction: fraction(statistics.retransmittedBytes, statistics.bytesSent),
    wireBytes: statistics.bytesSent,
    retransmittedBytes: statistics.retransmittedBytes,
    receivedWireBytes: statistics.bytesReceived,
    packetsSent: statistics.packetsSent,
    spuriousPackets: statistics.packetsSpurious,
    reorderedPackets: statistics.packetsReordered,
    largestReordering: statistics.largestReordering,
    probeTimeouts: statistics.probeTimeouts,
    ecn: statistics.ecnState,
    markedPackets: statistics.packetsCe,
    datagramBytes: statistics.datagramBytes,
    congestionWindowBytes: Math.round(statistics.congestionWindowBytes),
    pacingRateBytesPerSecond: wholeRate(statistics.pacingRateBytesPerSecond),
    bandwidthBytesPerSecond: Math.round(statistics.bandwidthBytesPerSecond),
    controller: statistics.controller,
    keyUpdates: statistics.keyUpdates,
    pathChanges: statistics.pathChanges,
    limit: rateLimit(statistics.limitedUs, facts),
    limitedUs: statistics.limitedUs,
    receiverBacklogBytes: Math.round(facts.receiverBacklogBytes ?? 0),
    busyFraction: fraction(facts.busyFraction ?? 0, 1),
    history: facts.history ?? [],
  };
}
