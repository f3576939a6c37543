/** Counters and measurements of one connection. */
import type { SendLimit } from "./limit-clock.ts";
import type { PacketReceiver } from "./packet-receiver.ts";
import type { PacketSender } from "./packet-sender.ts";
import type { EcnState } from "./recovery/ecn.ts";
import type { Session } from "./session.ts";

/** Counters and measurements of one connection, for people and tests. Bytes are UDP payload unless said. */
export interface ConnectionStatistics {
  readonly packetsSent: number;
  readonly bytesSent: number;
  readonly packetsReceived: number;
  readonly bytesReceived: number;
  readonly packetsLost: number;
  readonly bytesLost: number;
  /** Packets declared lost that arrived after all. */
  readonly packetsSpurious: number;
  readonly bytesSpurious: number;
  /** Stream and file bytes sent more than once. */
  readonly retransmittedBytes: number;
  /** File bytes received, and those among them that had been received before. */
  readonly objectBytesReceived: number;
  readonly objectBytesDuplicate: number;
  /** Packets received twice, behind a later one, not authentic, or not to be understood. */
  readonly packetsDuplicate: number;
  readonly packetsReordered: number;
  readonly largestReordering: number;
  readonly packetsNotAuthentic: number;
  readonly probeTimeouts: number;
  /** What the path does with ECN marks, as far as known, and packets that the peer received with CE. */
  readonly ecnState: EcnState;
  readonly packetsCe: number;
  readonly keyUpdates: number;
  readonly pathChanges: number;
  readonly minRttUs: number;
  readonly smoothedRttUs: number;
  readonly latestRttUs: number;
  readonly rttVariationUs: number;
  readonly datagramBytes: number;
  readonly congestionWindowBytes: number;
  readonly bytesInFlight: number;
  readonly pacingRateBytesPerSecond: number;
  readonly bandwidthBytesPerSecond: number;
  readonly controller: string;
  readonly controllerState: string;
  /** Window granted to the peer for file data, in bytes. */
  readonly receiveWindowBytes: number;
  /** Time spent in each limit, in microseconds. */
  readonly limitedUs: Readonly<Record<SendLimit, number>>;
}

/** Where the counters are: the parts are missing before the handshake is complete. */
export interface CountedParts {
  readonly session: Session | undefined;
  readonly receiver: PacketReceiver | undefined;
  readonly sender: PacketSender | undefined;
  /** Size of full datagrams before there is a session. */
  readonly firstDatagramBytes: number;
  readonly receiveWindowBytes: number;
  readonly limitedUs: Readonly<Record<SendLimit, number>>;
}

/** Reads all counters of a connection. */
export function connectionStatistics(parts: CountedParts): ConnectionStatistics {
  const { session, receiver, sender } = parts;
  const recovery = session?.recovery;
  const counters = recovery?.statistics;
  const tracker = session?.tracker;
  return {
    packetsSent: counters?.packetsSent ?? 0,
    bytesSent: counters?.bytesSent ?? 0,
    packetsReceived: receiver?.packetsReceived ?? 0,
    bytesReceived: receiver?.bytesReceived ?? 0,
    packetsLost: counters?.packetsLost ?? 0,
    bytesLost: counters?.bytesLost ?? 0,
    packetsSpurious: counters?.packetsSpurious ?? 0,
    bytesSpurious: counters?.bytesSpurious ?? 0,
    retransmittedBytes: sender?.retransmittedBytes ?? 0,
    objectBytesReceived: receiver?.objectBytesReceived ?? 0,
    objectBytesDuplicate: receiver?.objectBytesDuplicate ?? 0,
    packetsDuplicate: tracker?.duplicatePackets ?? 0,
    packetsReordered: tracker?.reorderedPackets ?? 0,
    largestReordering: tracker?.reorderingDistance ?? 0,
    packetsNotAuthentic: session?.keys.failedPackets ?? 0,
    probeTimeouts: counters?.probeTimeouts ?? 0,
    ecnState: recovery?.ecnState ?? "testing",
    packetsCe: counters?.packetsCe ?? 0,
    keyUpdates: session?.keys.updates ?? 0,
    pathChanges: receiver?.pathChanges ?? 0,
    minRttUs: recovery?.minRttUs ?? 0,
    smoothedRttUs: recovery?.smoothedRttUs ?? 0,
    latestRttUs: recovery?.latestRttUs ?? 0,
    rttVariationUs: recovery?.rttVariationUs ?? 0,
    datagramBytes: session?.mtu.datagramBytes ?? parts.firstDatagramBytes,
    congestionWindowBytes: recovery?.congestionWindowBytes ?? 0,
    bytesInFlight: recovery?.bytesInFlight ?? 0,
    pacingRateBytesPerSecond: recovery?.pacingRateBytesPerSecond ?? 0,
    bandwidthBytesPerSecond: recovery?.bandwidthBytesPerSecond ?? 0,
    controller: recovery?.controllerName ?? "",
    controllerState: recovery?.controllerState ?? "",
    receiveWindowBytes: parts.receiveWindowBytes,
    limitedUs: parts.limitedUs,
  };
}
