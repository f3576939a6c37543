/** Counters of a path. */

/** Counters of one path since it was made. Bytes are UDP payload. */
export interface RecoveryStatistics {
  packetsSent: number;
  bytesSent: number;
  packetsAcked: number;
  bytesAcked: number;
  /** Packets declared lost, the spurious ones and MTU probes included. */
  packetsLost: number;
  bytesLost: number;
  /** Packets declared lost that arrived after all. */
  packetsSpurious: number;
  bytesSpurious: number;
  /** Packets acknowledged after a later one, the spurious ones included. */
  packetsReordered: number;
  /** Largest distance, in packets, of a reordered packet. */
  largestReordering: number;
  probeTimeouts: number;
  persistentCongestions: number;
  /** Packets that the peer received with CE, as far as that can be believed. */
  packetsCe: number;
}

/** Counters of a path that was not used yet. */
export function emptyStatistics(): RecoveryStatistics {
  return {
    packetsSent: 0,
    bytesSent: 0,
    packetsAcked: 0,
    bytesAcked: 0,
    packetsLost: 0,
    bytesLost: 0,
    packetsSpurious: 0,
    bytesSpurious: 0,
    packetsReordered: 0,
    largestReordering: 0,
    probeTimeouts: 0,
    persistentCongestions: 0,
    packetsCe: 0,
  };
}
