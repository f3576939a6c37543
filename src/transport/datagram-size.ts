/**
 * Chooses the size of full datagrams: what the path carries, but on a slow and long path no more than
 * it sends in a moment. A queue of a few huge datagrams drops one in four, and the time that one of
 * them takes on the link looks like a queue. RFC 8899 finds the largest size; using less is free.
 */

/** Time that one datagram may take at the rate of the path, in microseconds: two ticks of the pacing timer. */
const DATAGRAM_TIME_US = 2_000;

/** Never below this, if the path carries it: Ethernet's 1 500 over IPv4, which every router is built for. */
const FLOOR_BYTES = 1_472;

/**
 * Nor below this part of what the path carries, as a shift: a sixteenth, 4 094 bytes of the largest datagram.
 * Only paths within a machine carry so much, and where a hundred connections wait for its processors, a
 * round trip is long and a rate low only because of that: more packets would take more of what is short.
 */
const FLOOR_SHIFT = 4;

/**
 * Round trips below this are of one machine or one site, in microseconds: large datagrams save work
 * there, and a rate that is low because many share the link says nothing about the link. The least round
 * trip of one of a hundred senders on a busy machine is 2 to 6 ms, and was longer while all began.
 */
const NEAR_US = 10_000;

/** The size doubles only when the rate has this much to spare, so that it does not swing. */
const SPARE = 1.25;

/** Size of full datagrams of one path. */
export class DatagramSize {
  private current: number;

  /** @param startBytes - Size the handshake used. */
  constructor(startBytes: number) {
    this.current = startBytes;
  }

  /** Size of full datagrams now, in bytes of UDP payload. */
  get bytes(): number {
    return this.current;
  }

  /**
   * Chooses anew; returns whether the size changed.
   *
   * @param foundBytes - Largest size that the path is known to carry.
   * @param rateBytesPerSecond - What the path delivers; `Infinity` when unknown.
   * @param minRttUs - Least round-trip time; 0 when unknown.
   */
  choose(foundBytes: number, rateBytesPerSecond: number, minRttUs: number): boolean {
    const before = this.current;
    this.current = foundBytes;
    const floorBytes = Math.max(FLOOR_BYTES, foundBytes >> FLOOR_SHIFT);
    if (foundBytes <= floorBytes || minRttUs < NEAR_US) return this.current !== before;
    const allowed = (rateBytesPerSecond * DATAGRAM_TIME_US) / 1e6;
    // Halves of what was found: few steps, and each at least twice the time of the next.
    while (this.current > floorBytes) {
      const needed = this.current > before ? this.current * SPARE : this.current;
      if (needed <= allowed) break;
      this.current = Math.max(this.current >> 1, floorBytes);
    }
    return this.current !== before;
  }
}
