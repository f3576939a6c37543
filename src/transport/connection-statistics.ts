/** Counters of one connection, and which limit held its rate. */

import type { EcnState } from "./recovery/ecn.ts";

/** What kept a sender from sending more. */
export type SendLimit = "congestion" | "pacing" | "flow-control" | "application" | "disk" | "handshake";

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

/** Adds up how long each limit held. */
export class LimitClock {
  private readonly spent: Record<SendLimit, number> = {
    congestion: 0,
    pacing: 0,
    "flow-control": 0,
    application: 0,
    disk: 0,
    handshake: 0,
  };
  private limit: SendLimit = "handshake";
  private sinceUs: number;

  constructor(nowUs: number) {
    this.sinceUs = nowUs;
  }

  /** What holds the rate at present. */
  get current(): SendLimit {
    return this.limit;
  }

  /** From `nowUs` on, `limit` is what holds the rate. */
  enter(limit: SendLimit, nowUs: number): void {
    this.spent[this.limit] += nowUs - this.sinceUs;
    this.limit = limit;
    this.sinceUs = nowUs;
  }

  /** Time in each limit up to `nowUs`, in microseconds. */
  totals(nowUs: number): Record<SendLimit, number> {
    this.enter(this.limit, nowUs);
    return { ...this.spent };
  }
}
