/** A peer that holds the keys and breaks the rules: sends any frames under any packet number. */
import { nodeCryptoProvider } from "../../src/node/crypto/provider.ts";
import { ADDRESS_WORDS } from "../../src/wire/address.ts";
import { PacketBatch } from "../../src/wire/batch.ts";
import { writeShortHeader, SHORT_HEADER_BYTES } from "../../src/wire/header.ts";
import { TAG_BYTES } from "../../src/transport/crypto.ts";
import { PacketKeys } from "../../src/transport/keys.ts";
import type { Pair } from "./pair.ts";

/** Plays the initiator of a pair towards its responder. */
export class Rogue {
  private readonly pair: Pair;
  private readonly keys: PacketKeys;
  private nextNumber: number;

  /** @param firstNumber - Above what the real initiator has used. */
  constructor(pair: Pair, firstNumber = 1_000) {
    this.pair = pair;
    this.nextNumber = firstNumber;
    const secrets = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
    this.keys = new PacketKeys(nodeCryptoProvider(), secrets[0], secrets[1]);
  }

  /** Hands one packet with these frames to the responder; `write` returns the offset behind them. */
  send(
    write: (bytes: Uint8Array, at: number) => number,
    from = this.pair.initiator.host.publicAddress,
  ): void {
    const batch = new PacketBatch(1, 2_048);
    const number = this.nextNumber++;
    writeShortHeader(batch.bytes, 0, new Uint8Array(8).fill(0xb2), 0, number);
    const end = write(batch.bytes, SHORT_HEADER_BYTES);
    const address = new Int32Array(ADDRESS_WORDS);
    address.set(from);
    batch.push(end + TAG_BYTES, address, 0);
    batch.packetNumbers[0] = number;
    this.keys.seal(batch, 0, 1);
    this.pair.responder.connection.handleDatagrams(batch, 0, 1, this.pair.world.nowUs);
    this.pair.responder.host.poke();
  }
}
