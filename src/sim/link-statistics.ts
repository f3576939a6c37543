/** What one link did, counted by cause; plain numbers, so that it prints as JSON. */
export interface LinkStatistics {
  /** Datagrams and payload bytes offered to the link. */
  datagramsIn: number;
  bytesIn: number;
  /** Datagrams and payload bytes delivered, copies and junk included. */
  datagramsOut: number;
  bytesOut: number;
  /** Dropped because the queue was full. */
  droppedQueue: number;
  /** Dropped by random loss or the loss mask. */
  droppedLoss: number;
  /** Dropped in a loss burst. */
  droppedBurst: number;
  droppedBlackhole: number;
  /** Dropped because larger than the MTU. */
  droppedMtu: number;
  reordered: number;
  duplicated: number;
  corrupted: number;
  truncated: number;
  replayed: number;
  junk: number;
  /** Marked CE. */
  marked: number;
  /** ECN marks erased. */
  bleached: number;
  /** Largest backlog in bytes on the wire. */
  queueMaxBytes: number;
  /** Time datagrams spent waiting and being sent, before propagation. */
  queueDelaySumUs: number;
  queueDelayMaxUs: number;
}

/** All counters at zero. */
export function emptyLinkStatistics(): LinkStatistics {
  return {
    datagramsIn: 0,
    bytesIn: 0,
    datagramsOut: 0,
    bytesOut: 0,
    droppedQueue: 0,
    droppedLoss: 0,
    droppedBurst: 0,
    droppedBlackhole: 0,
    droppedMtu: 0,
    reordered: 0,
    duplicated: 0,
    corrupted: 0,
    truncated: 0,
    replayed: 0,
    junk: 0,
    marked: 0,
    bleached: 0,
    queueMaxBytes: 0,
    queueDelaySumUs: 0,
    queueDelayMaxUs: 0,
  };
}

/** All datagrams a link dropped, whatever the cause. */
export function droppedDatagrams(statistics: LinkStatistics): number {
  return (
    statistics.droppedQueue +
    statistics.droppedLoss +
    statistics.droppedBurst +
    statistics.droppedBlackhole +
    statistics.droppedMtu
  );
}
