/** Packet protection on node:crypto: AES-256-GCM, one cipher object per packet because Node offers no other way. */
import { createCipheriv, createDecipheriv, createSecretKey } from "node:crypto";
import { assert } from "../../base/assert.ts";
import { PACKET_IV_BYTES, PACKET_KEY_BYTES, TAG_BYTES, type PacketKey } from "../../transport/crypto.ts";
import type { PacketBatch } from "../../wire/batch.ts";
import { releaseBuffer } from "../release-buffer.ts";

/** Without it Node accepts tags cut down to 4 bytes. */
const OPTIONS = { authTagLength: TAG_BYTES } as const;

const ALGORITHM = "aes-256-gcm";

/** A packet protection key from a 32-byte key and a 12-byte IV; both are copied. */
export function nodePacketKey(key: Uint8Array, iv: Uint8Array): PacketKey {
  assert(key.length === PACKET_KEY_BYTES && iv.length === PACKET_IV_BYTES, "key of 32 and IV of 12 bytes");
  return new NodePacketKey(key, iv);
}

class NodePacketKey implements PacketKey {
  private readonly key;
  private readonly iv: Uint8Array;
  private readonly nonce: Uint8Array;

  constructor(key: Uint8Array, iv: Uint8Array) {
    this.key = createSecretKey(key);
    this.iv = iv.slice();
    this.nonce = iv.slice();
  }

  seal(batch: PacketBatch, from: number, to: number, headerBytes: number): void {
    assert(from >= 0 && from <= to && to <= batch.count, "datagrams of the batch");
    // node:crypto would need a call more per packet to read it in two parts.
    batch.settle();
    for (let i = from; i < to; i++) {
      const start = batch.offsets[i];
      const text = start + headerBytes;
      const tag = start + batch.lengths[i] - TAG_BYTES;
      assert(headerBytes >= 0 && text <= tag, "a packet has room for header and tag");
      this.setNonce(batch.packetNumbers[i]);
      const cipher = createCipheriv(ALGORITHM, this.key, this.nonce, OPTIONS);
      cipher.setAAD(batch.bytes.subarray(start, text));
      const ciphertext = cipher.update(batch.bytes.subarray(text, tag));
      batch.bytes.set(ciphertext, text);
      releaseBuffer(ciphertext);
      cipher.final();
      batch.bytes.set(cipher.getAuthTag(), tag);
    }
  }

  open(batch: PacketBatch, from: number, to: number, headerBytes: number): number {
    assert(from >= 0 && from <= to && to <= batch.count, "datagrams of the batch");
    assert(headerBytes >= 0, "a header length");
    let authentic = 0;
    for (let i = from; i < to; i++) {
      batch.opened[i] = this.openOne(batch, i, headerBytes) ? 1 : 0;
      authentic += batch.opened[i];
    }
    return authentic;
  }

  private openOne(batch: PacketBatch, index: number, headerBytes: number): boolean {
    const start = batch.offsets[index];
    const text = start + headerBytes;
    const tag = start + batch.lengths[index] - TAG_BYTES;
    if (text > tag) return false;
    this.setNonce(batch.packetNumbers[index]);
    const decipher = createDecipheriv(ALGORITHM, this.key, this.nonce, OPTIONS);
    decipher.setAAD(batch.bytes.subarray(start, text));
    decipher.setAuthTag(batch.bytes.subarray(tag, tag + TAG_BYTES));
    const plaintext = decipher.update(batch.bytes.subarray(text, tag));
    try {
      decipher.final();
      batch.bytes.set(plaintext, text);
      return true;
    } catch {
      return false;
    } finally {
      releaseBuffer(plaintext);
    }
  }

  /** IV xor packet number, big-endian, RFC 9001 §5.3; in two halves because numbers go up to 2^53. */
  private setNonce(packetNumber: number): void {
    const { iv, nonce } = this;
    const high = Math.floor(packetNumber / 0x1_0000_0000);
    nonce[4] = iv[4] ^ (high >>> 24);
    nonce[5] = iv[5] ^ (high >>> 16);
    nonce[6] = iv[6] ^ (high >>> 8);
    nonce[7] = iv[7] ^ high;
    nonce[8] = iv[8] ^ (packetNumber >>> 24);
    nonce[9] = iv[9] ^ (packetNumber >>> 16);
    nonce[10] = iv[10] ^ (packetNumber >>> 8);
    nonce[11] = iv[11] ^ packetNumber;
  }
}
