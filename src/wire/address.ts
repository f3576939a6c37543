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

/** A copy of one address of a word array; `index` counts addresses. */
export function addressOf(addresses: Int32Array, index: number): Int32Array {
  return addresses.slice(index * ADDRESS_WORDS, (index + 1) * ADDRESS_WORDS);
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

/** The address for people: `192.0.2.1:4639`, `[2001:db8::1]:4639`, without a scope. RFC 5952 §4. */
export function addressText(words: Int32Array, index = 0): string {
  const at = index * ADDRESS_WORDS;
  const port = words[at + 4];
  const low = words[at + 3];
  if (isIpv4Address(words, index))
    return `${low >>> 24}.${(low >>> 16) & 0xff}.${(low >>> 8) & 0xff}.${low & 0xff}:${port}`;
  const groups: string[] = [];
  for (let i = 0; i < 4; i++)
    groups.push((words[at + i] >>> 16).toString(16), (words[at + i] & 0xffff).toString(16));
  // RFC 5952 §4.2: the first of the longest runs of two or more zero groups is left out.
  const runs = groups.map((_, start) => {
    let end = start;
    while (groups[end] === "0") end++;
    return end - start;
  });
  const longest = Math.max(...runs);
  if (longest < 2) return `[${groups.join(":")}]:${port}`;
  const start = runs.indexOf(longest);
  return `[${groups.slice(0, start).join(":")}::${groups.slice(start + longest).join(":")}]:${port}`;
}
