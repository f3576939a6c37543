/** Address words to text for a socket that wants text, without an object per datagram. */
import { ADDRESS_WORDS, copyAddress, sameAddress } from "../../wire/address.ts";
import { sendableHost } from "./address-text.ts";

/** Remembered addresses: more peers than this at once only means formatting again. A power of two. */
const SLOTS = 256;

/** A direct-mapped cache: an address has one slot, a newcomer with the same slot takes it over. */
export class HostCache {
  private readonly words = new Int32Array(SLOTS * ADDRESS_WORDS);
  private readonly hosts: (string | undefined)[] = Array<string | undefined>(SLOTS).fill(undefined);
  private readonly known = new Uint8Array(SLOTS);
  private readonly ipv6Socket: boolean;

  /** @param ipv6Socket - Whether texts are for an IPv6 socket, see `sendableHost`. */
  constructor(ipv6Socket: boolean) {
    this.ipv6Socket = ipv6Socket;
  }

  /** Text to send to address `index`; `undefined` when this kind of socket cannot reach it. */
  host(addresses: Int32Array, index: number): string | undefined {
    const slot = slotOf(addresses, index * ADDRESS_WORDS);
    if (this.known[slot] === 1 && sameAddress(this.words, slot, addresses, index)) return this.hosts[slot];
    copyAddress(addresses, index, this.words, slot);
    this.known[slot] = 1;
    return (this.hosts[slot] = sendableHost(addresses, index, this.ipv6Socket));
  }
}

/** A multiplicative hash: peers usually differ in a few bits of one or two words. */
function slotOf(words: Int32Array, at: number): number {
  let hash = 0;
  for (let i = 0; i < ADDRESS_WORDS; i++) hash = Math.imul(hash ^ words[at + i], 0x9e37_79b1);
  return hash >>> 24;
}
