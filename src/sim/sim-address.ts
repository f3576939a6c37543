/** Addresses of simulated hosts: IPv4, six words as in wire/address.ts. */
import { ADDRESS_WORDS } from "../wire/address.ts";

/** First address handed out: 10.0.0.0, RFC 1918. */
const NETWORK = 0x0a00_0000;

/** 10.x.y.z for a number below 2^24, with a port. */
export function simAddress(hostNumber: number, port: number): Int32Array {
  const words = new Int32Array(ADDRESS_WORDS);
  words[2] = 0xffff;
  words[3] = NETWORK + hostNumber;
  words[4] = port;
  return words;
}

/** A key for maps: equal for equal addresses. */
export function addressKey(words: Int32Array, index = 0): string {
  const at = index * ADDRESS_WORDS;
  return `${words[at]},${words[at + 1]},${words[at + 2]},${words[at + 3]},${words[at + 4]},${words[at + 5]}`;
}

/** For people: 10.0.0.1:4639. */
export function addressText(words: Int32Array, index = 0): string {
  const at = index * ADDRESS_WORDS;
  const ip = words[at + 3] >>> 0;
  return `${ip >>> 24}.${(ip >>> 16) & 255}.${(ip >>> 8) & 255}.${ip & 255}:${words[at + 4]}`;
}
