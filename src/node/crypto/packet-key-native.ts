/** Packet protection in the native addon: AES-256-GCM over a whole batch in one crossing. */
import { assert } from "../../base/assert.ts";
import {
  PACKET_IV_BYTES,
  PACKET_KEY_BYTES,
  type PacketKey,
  type PacketKeyFactory,
} from "../../transport/crypto.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import { nativeBinding, type NativeBinding, type NativeHandle } from "../sockets/native-loader.ts";
import { nodePacketKey } from "./packet-key-node.ts";

/** LENDERS of native/src/packet_key.c. */
const LENDERS = 64;

/** The one place that chooses: the addon's keys where it loads, else node:crypto's. */
export function packetKeyFactory(): PacketKeyFactory {
  const binding = nativeBinding();
  return binding?.hasPacketKey === true ? nativePacketKeyFactory(binding) : nodePacketKey;
}

/** Keys of the given addon. */
export function nativePacketKeyFactory(binding: NativeBinding): PacketKeyFactory {
  return (key, iv) => new NativePacketKey(binding, key, iv);
}

class NativePacketKey implements PacketKey {
  private readonly binding: NativeBinding;
  private readonly handle: NativeHandle;

  constructor(binding: NativeBinding, key: Uint8Array, iv: Uint8Array) {
    assert(key.length === PACKET_KEY_BYTES && iv.length === PACKET_IV_BYTES, "key of 32 and IV of 12 bytes");
    this.binding = binding;
    this.handle = binding.createKey(key, iv);
  }

  seal(batch: PacketBatch, from: number, to: number, headerBytes: number): void {
    assert(to <= batch.count, "datagrams of the batch");
    const { bytes, offsets, lengths, packetNumbers, lenders } = batch;
    const { sealBorrowed } = this.binding;
    if (lenders.length > LENDERS || sealBorrowed === undefined) batch.settle();
    if (lenders.length === 0 || sealBorrowed === undefined) {
      this.binding.seal(this.handle, bytes, offsets, lengths, packetNumbers, from, to, headerBytes);
      return;
    }
    sealBorrowed(
      this.handle,
      bytes,
      offsets,
      lengths,
      packetNumbers,
      from,
      to,
      headerBytes,
      batch.borrowedBytes,
      batch.lentFrom,
      batch.lenderOf,
      lenders,
    );
  }

  open(batch: PacketBatch, from: number, to: number, headerBytes: number): number {
    assert(to <= batch.count, "datagrams of the batch");
    const { bytes, offsets, lengths, packetNumbers, opened } = batch;
    return this.binding.open(
      this.handle,
      bytes,
      offsets,
      lengths,
      packetNumbers,
      from,
      to,
      headerBytes,
      opened,
    );
  }
}
