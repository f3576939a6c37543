/**
 * Network addresses as six 32-bit words, so that a batch of packets carries them without objects.
 *
 * Words 0 to 3: the IPv6 address, IPv4 as ::ffff:a.b.c.d; word 4: the port; word 5: the scope
 * (interface index) of a link-local address, else 0. Words hold the bytes in network order as one
 * big-endian number each.
 */

/** Words one address takes. */
export const ADDRESS_WORDS = 6;

/** Copies one address between word arrays; `fromIndex` and `toIndex` count addresses. */
export function copyAddress(from: Int32Array, fromIndex: number, to: Int32Array, toIndex: number): void {
  const source = fromIndex * ADDRESS_WORDS;
  const target = toIndex * ADDRESS_WORDS;
  for (let i = 0; i < ADDRESS_WORDS; i++) to[target + i] = from[source + i];
}

/** Whether two addresses in word arrays are the same; indexes count addresses. */
export function sameAddress(a: Int32Array, aIndex: number, b: Int32Array, bIndex: number): boolean {
  const left = aIndex * ADDRESS_WORDS;
  const right = bIndex * ADDRESS_WORDS;
  for (let i = 0; i < ADDRESS_WORDS; i++) if (a[left + i] !== b[right + i]) return false;
  return true;
}

/** Whether the address is IPv4 (carried as ::ffff:a.b.c.d, RFC 4291 §2.5.5.2). */
export function isIpv4Address(words: Int32Array, index = 0): boolean {
  const at = index * ADDRESS_WORDS;
  return words[at] === 0 && words[at + 1] === 0 && words[at + 2] === 0xffff;
}

/** The six words as 24 bytes in network order: what a cookie is bound to. */
export function addressBytes(words: Int32Array, index = 0): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_WORDS * 4);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < ADDRESS_WORDS; i++) view.setInt32(i * 4, words[index * ADDRESS_WORDS + i]);
  return bytes;
}
