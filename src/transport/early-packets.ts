/**
 * The first protected packets of a connection: those that overtake the end of the handshake, or arrive
 * before the application knows of the connection. RFC 9001 §5.7.
 */
import { assert } from "../base/assert.ts";
import { EARLY_PACKETS_HELD, MIN_DATAGRAM_BYTES } from "../base/limits.ts";
import { PacketBatch } from "../wire/batch.ts";

/** Holds a few packets; what does not fit is dropped, and the peer sends it again. */
export class EarlyPackets {
  /** When the latest packets were held, in microseconds. */
  heldAtUs = 0;
  private batch: PacketBatch | undefined;

  /** Packets held. */
  get count(): number {
    return this.batch?.count ?? 0;
  }

  /** Keeps copies of datagrams `[from, to)`. */
  hold(batch: PacketBatch, from: number, to: number, nowUs: number): void {
    this.heldAtUs = nowUs;
    this.batch ??= new PacketBatch(EARLY_PACKETS_HELD, EARLY_PACKETS_HELD * MIN_DATAGRAM_BYTES);
    const held = this.batch;
    for (let i = from; i < to; i++) {
      if (!held.hasRoom(batch.lengths[i])) return;
      held.bytes.set(batch.datagram(i), held.usedBytes);
      const index = held.push(batch.lengths[i], batch.addresses, i);
      held.ecn[index] = batch.ecn[i];
    }
  }

  /** Hands the packets over and forgets them. */
  take(): PacketBatch {
    const { batch } = this;
    assert(batch !== undefined, "packets are held");
    this.batch = undefined;
    return batch;
  }
}
