/** What a transfer's path was like, and which limit held its rate. */
import type { ConnectionStatistics, SendLimit } from "../transport/connection-statistics.ts";

/** What held the rate, in words for people. */
export type RateLimit =
  | "path"
  | "rate cap"
  | "receiver window"
  | "receiver disk"
  | "sender disk"
  | "small transfer"
  | "handshake";

/** Facts about the path of one transfer, from the side that sent most. */
export interface PathReport {
  readonly minRttUs: number;
  readonly smoothedRttUs: number;
  /** Share of sent packets that were lost, spurious declarations taken back; 0 to 1. */
  readonly lossFraction: number;
  /** Bytes sent again per byte sent; 0 to 1. */
  readonly retransmittedFraction: number;
  /** UDP payload bytes sent, and those among them that carried bytes sent before. */
  readonly wireBytes: number;
  readonly retransmittedBytes: number;
  readonly receivedWireBytes: number;
  readonly spuriousPackets: number;
  readonly reorderedPackets: number;
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
}

const LIMIT_NAMES: Readonly<Record<SendLimit, RateLimit>> = {
  congestion: "path",
  pacing: "path",
  "flow-control": "receiver window",
  disk: "sender disk",
  application: "small transfer",
  handshake: "handshake",
};

function rateLimit(statistics: ConnectionStatistics, isCapped: boolean): RateLimit {
  const { limitedUs } = statistics;
  const longest = (Object.keys(limitedUs) as SendLimit[]).reduce((best, limit) =>
    limitedUs[limit] > limitedUs[best] ? limit : best,
  );
  if (longest === "pacing" && isCapped) return "rate cap";
  return LIMIT_NAMES[longest];
}

/** The report of a connection. `isCapped`: the user set a rate. */
export function pathReport(statistics: ConnectionStatistics, isCapped = false): PathReport {
  const lost = Math.max(statistics.packetsLost - statistics.packetsSpurious, 0);
  return {
    minRttUs: statistics.minRttUs,
    smoothedRttUs: statistics.smoothedRttUs,
    lossFraction: statistics.packetsSent === 0 ? 0 : lost / statistics.packetsSent,
    retransmittedFraction:
      statistics.bytesSent === 0 ? 0 : statistics.retransmittedBytes / statistics.bytesSent,
    wireBytes: statistics.bytesSent,
    retransmittedBytes: statistics.retransmittedBytes,
    receivedWireBytes: statistics.bytesReceived,
    spuriousPackets: statistics.packetsSpurious,
    reorderedPackets: statistics.packetsReordered,
    datagramBytes: statistics.datagramBytes,
    congestionWindowBytes: statistics.congestionWindowBytes,
    pacingRateBytesPerSecond: statistics.pacingRateBytesPerSecond,
    bandwidthBytesPerSecond: statistics.bandwidthBytesPerSecond,
    controller: statistics.controller,
    keyUpdates: statistics.keyUpdates,
    pathChanges: statistics.pathChanges,
    limit: rateLimit(statistics, isCapped),
    limitedUs: statistics.limitedUs,
  };
}
