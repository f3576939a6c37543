/** How often a source address may begin a handshake: a token bucket each, for a bounded number of them. */
import { INITIATION_SOURCES } from "../../base/limits.ts";
import { ADDRESS_WORDS, isIpv4Address } from "../../wire/address.ts";

interface Bucket {
  tokens: number;
  filledAtUs: number;
}

/** Token buckets by source: an IPv4 address, or an IPv6 /64, which is what one host can use freely. */
export class SourceLimiter {
  private readonly buckets = new Map<string, Bucket>();
  private readonly perSecond: number;
  private readonly burst: number;

  /** @param perSecond - Tokens a source gains per second. @param burst - Most tokens it can have. */
  constructor(perSecond: number, burst: number) {
    this.perSecond = perSecond;
    this.burst = burst;
  }

  /** Sources remembered. */
  get size(): number {
    return this.buckets.size;
  }

  /** Takes one token of the source of `addresses[addressIndex]`; false if it has none left. */
  take(addresses: Int32Array, addressIndex: number, nowUs: number): boolean {
    const at = addressIndex * ADDRESS_WORDS;
    const source = isIpv4Address(addresses, addressIndex)
      ? `4/${addresses[at + 3]}`
      : `6/${addresses[at]}/${addresses[at + 1]}`;
    let bucket = this.buckets.get(source);
    if (bucket === undefined) {
      if (this.buckets.size >= INITIATION_SOURCES) this.forgetOldest();
      bucket = { tokens: this.burst, filledAtUs: nowUs };
    } else {
      // Behind the others again: the map keeps the order of insertion, so its first is the least recently used.
      this.buckets.delete(source);
      const gained = ((nowUs - bucket.filledAtUs) * this.perSecond) / 1_000_000;
      bucket.tokens = Math.min(this.burst, bucket.tokens + gained);
      bucket.filledAtUs = nowUs;
    }
    this.buckets.set(source, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  }

  private forgetOldest(): void {
    for (const source of this.buckets.keys()) {
      this.buckets.delete(source);
      return;
    }
  }
}
