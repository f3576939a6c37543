/** Addresses between text (`1.2.3.4`, `fe80::1%eth0`, `[::1]:4639`) and the six words of wire/address.ts. */
import { readFileSync } from "node:fs";
import { isIPv4 } from "node:net";
import { networkInterfaces } from "node:os";
import { ADDRESS_WORDS, isIpv4Address } from "../../wire/address.ts";
import { isIpv6Text } from "./ip-text.ts";

/**
 * The words of an IP address in text, with a port. IPv4 becomes `::ffff:a.b.c.d`; a scope (`%eth0`
 * or `%3`) becomes an interface index, 0 when there is no such interface.
 *
 * @returns `undefined` when `host` is not an IP address (names are not resolved here).
 */
export function parseAddress(host: string, port: number): Int32Array | undefined {
  const words = new Int32Array(ADDRESS_WORDS);
  words[4] = port;
  if (isIPv4(host)) {
    words[2] = 0xffff;
    words[3] = ipv4Word(host);
    return words;
  }
  if (!isIpv6Text(host)) return undefined;
  const percent = host.indexOf("%");
  const address = percent === -1 ? host : host.slice(0, percent);
  if (percent !== -1) words[5] = interfaceIndex(host.slice(percent + 1));
  const halves = address.split("::");
  const front = ipv6Groups(halves[0]);
  const back = halves.length === 2 ? ipv6Groups(halves[1]) : [];
  const groups = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  for (let i = 0; i < 4; i++) words[i] = (groups[2 * i] << 16) | groups[2 * i + 1];
  return words;
}

/** The IP address of words `index` as text, IPv4 dotted, a scope as `%name`; without the port. */
export function formatHost(words: Int32Array, index = 0): string {
  const at = index * ADDRESS_WORDS;
  if (isIpv4Address(words, index)) return dotted(words[at + 3]);
  return formatIpv6(words, at);
}

/** Host and port as text: `1.2.3.4:4639`, `[fe80::1%eth0]:4639`. */
export function formatAddress(words: Int32Array, index = 0): string {
  const host = formatHost(words, index);
  const port = words[index * ADDRESS_WORDS + 4];
  return isIpv4Address(words, index) ? `${host}:${port}` : `[${host}]:${port}`;
}

/**
 * Host and port of `1.2.3.4:4639`, `[::1]:4639`, `name:4639`, `:4639`, `1.2.3.4`, `::1`, `[::1]`.
 *
 * @returns `undefined` when the text has no such form or the port is not 1 to 65535.
 */
export function splitHostPort(text: string): { host: string; port: number | undefined } | undefined {
  if (isIpv6Text(text)) return { host: text, port: undefined };
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const bracketed = match[1];
  if (bracketed !== undefined && !isIpv6Text(bracketed)) return undefined;
  const port = match[3] === undefined ? undefined : Number(match[3]);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  return { host: bracketed ?? match[2], port };
}

/**
 * What `sendto` understands: dotted IPv4 for an IPv4 socket, else IPv6 text, IPv4 as `::ffff:a.b.c.d`.
 *
 * @returns `undefined` for an IPv6 address on an IPv4 socket.
 */
export function sendableHost(words: Int32Array, index: number, ipv6Socket: boolean): string | undefined {
  const at = index * ADDRESS_WORDS;
  if (!isIpv4Address(words, index)) return ipv6Socket ? formatIpv6(words, at) : undefined;
  return ipv6Socket ? `::ffff:${dotted(words[at + 3])}` : dotted(words[at + 3]);
}

function ipv4Word(text: string): number {
  let word = 0;
  for (const part of text.split(".")) word = (word << 8) | Number(part);
  return word;
}

function ipv6Groups(text: string): number[] {
  if (text === "") return [];
  const groups: number[] = [];
  for (const part of text.split(":")) {
    if (part.includes(".")) {
      const word = ipv4Word(part);
      groups.push(word >>> 16, word & 0xffff);
    } else {
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function dotted(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 0xff}.${(word >>> 8) & 0xff}.${word & 0xff}`;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function formatIpv6(words: Int32Array, at: number): string {
  const groups: number[] = [];
  for (let i = 0; i < 4; i++) groups.push(words[at + i] >>> 16, words[at + i] & 0xffff);
  let zerosAt = -1;
  let zeros = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > zeros) [zerosAt, zeros] = [start, end - start];
    if (end > start) start = end;
  }
  const hex = (list: number[]): string => list.map((group) => group.toString(16)).join(":");
  const text =
    zerosAt === -1 ? hex(groups) : `${hex(groups.slice(0, zerosAt))}::${hex(groups.slice(zerosAt + zeros))}`;
  const scope = words[at + 5];
  return scope === 0 ? text : `${text}%${interfaceName(scope)}`;
}

/** Interface index of a scope in text; 0 when there is none. */
function interfaceIndex(scope: string): number {
  if (/^\d{1,9}$/.test(scope)) return Number(scope);
  for (const address of networkInterfaces()[scope] ?? []) {
    if (address.family === "IPv6" && address.scopeid !== 0) return address.scopeid;
  }
  try {
    // The name comes from a user's command line: only what can be an interface name becomes a path.
    if (!/^[\w.-]{1,15}$/.test(scope) || scope.startsWith(".")) return 0;
    return Number(readFileSync(`/sys/class/net/${scope}/ifindex`, "utf8"));
  } catch {
    return 0;
  }
}

/** Interface name of an index; the index itself when no interface has it. */
function interfaceName(index: number): string {
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const address of addresses ?? []) if (address.scopeid === index) return name;
  }
  return String(index);
}
