/**
 * The MTU of the interface a datagram to an address would leave through, without asking the kernel
 * for a route: Node tells interfaces and their networks; Linux tells MTUs and default routes in files.
 */
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { ADDRESS_WORDS, isIpv4Address, sameAddress } from "../../wire/address.ts";
import { parseAddress } from "./address-text.ts";

/** Bytes of an IPv4 header without options and a UDP header: 20 + 8. */
export const IPV4_UDP_HEADER_BYTES = 28;

/** Bytes of an IPv6 header and a UDP header: 40 + 8. */
export const IPV6_UDP_HEADER_BYTES = 48;

/** UDP payload over IPv4 on Ethernet (1 500 - 28): assumed where nothing tells the MTU. */
export const UNKNOWN_PATH_DATAGRAM_BYTES = 1_472;

/** Largest IPv4 packet (16-bit length), also kept for IPv6 because loopback's MTU of 65 536 exceeds it. */
const IP_PACKET_BYTES = 65_535;

/** How long what the system told is trusted: interfaces come and go rarely. */
const TRUSTED_MS = 5_000;

/** UDP payload that fits an MTU towards an address of that family. */
export function payloadBytes(mtuBytes: number, ipv4: boolean): number {
  return Math.min(mtuBytes, IP_PACKET_BYTES) - (ipv4 ? IPV4_UDP_HEADER_BYTES : IPV6_UDP_HEADER_BYTES);
}

interface LocalNetwork {
  readonly words: Int32Array;
  readonly prefixBits: number;
  readonly mtuBytes: number | undefined;
  readonly scope: number;
}

/** What this machine's interfaces allow, read from the system at most every few seconds. */
export class InterfaceMtu {
  private networks: LocalNetwork[] = [];
  private loopbackMtuBytes: number | undefined;
  private defaultMtuBytes: number | undefined;
  private readAtMs = -Infinity;

  /** Largest UDP payload worth trying towards address `index`, in bytes. */
  datagramBytes(addresses: Int32Array, index: number): number {
    const nowMs = performance.now();
    if (nowMs - this.readAtMs > TRUSTED_MS) {
      this.readAtMs = nowMs;
      this.read();
    }
    const mtuBytes = this.mtuTowards(addresses, index);
    return mtuBytes === undefined
      ? UNKNOWN_PATH_DATAGRAM_BYTES
      : payloadBytes(mtuBytes, isIpv4Address(addresses, index));
  }

  private mtuTowards(addresses: Int32Array, index: number): number | undefined {
    const target = addresses.slice(index * ADDRESS_WORDS, (index + 1) * ADDRESS_WORDS);
    target[4] = 0;
    const scope = target[5];
    target[5] = 0;
    let best: LocalNetwork | undefined;
    for (const network of this.networks) {
      // The system routes what is sent to one of its own addresses through loopback.
      if (sameAddress(network.words, 0, target, 0)) return this.loopbackMtuBytes;
      if (scope !== 0 && network.scope !== scope) continue;
      if (!sharesPrefix(network.words, target, network.prefixBits)) continue;
      if (best === undefined || network.prefixBits > best.prefixBits) best = network;
    }
    return best === undefined ? this.defaultMtuBytes : best.mtuBytes;
  }

  private read(): void {
    this.networks = [];
    this.loopbackMtuBytes = undefined;
    const defaults = defaultRouteInterfaces();
    const defaultMtus: number[] = [];
    for (const [name, addresses] of Object.entries(networkInterfaces())) {
      const mtuBytes = readMtu(name);
      if (mtuBytes !== undefined && defaults.has(name)) defaultMtus.push(mtuBytes);
      for (const address of addresses ?? []) {
        if (address.internal) this.loopbackMtuBytes ??= mtuBytes;
        const words = parseAddress(address.address, 0);
        const bits = Number(address.cidr?.split("/")[1]);
        if (words === undefined || !Number.isInteger(bits)) continue;
        const prefixBits = address.family === "IPv6" ? bits : 96 + bits;
        words[5] = 0;
        this.networks.push({ words, prefixBits, mtuBytes, scope: address.scopeid ?? 0 });
      }
    }
    // With several default routes the smallest is sure to pass the interface.
    this.defaultMtuBytes = defaultMtus.length === 0 ? undefined : Math.min(...defaultMtus);
  }
}

function sharesPrefix(a: Int32Array, b: Int32Array, bits: number): boolean {
  for (let word = 0, left = bits; left > 0; word++, left -= 32) {
    const mask = left >= 32 ? -1 : -1 << (32 - left);
    if (((a[word] ^ b[word]) & mask) !== 0) return false;
  }
  return true;
}

function readMtu(name: string): number | undefined {
  try {
    const mtuBytes = Number(readFileSync(`/sys/class/net/${name}/mtu`, "utf8"));
    return Number.isInteger(mtuBytes) && mtuBytes >= 576 ? mtuBytes : undefined;
  } catch {
    return undefined;
  }
}

/** Names of the interfaces that carry a default route; empty where the system does not tell by file. */
function defaultRouteInterfaces(): Set<string> {
  const names = new Set<string>();
  for (const line of readLines("/proc/net/route")) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === "00000000" && fields[7] === "00000000") names.add(fields[0]);
  }
  for (const line of readLines("/proc/net/ipv6_route")) {
    const fields = line.trim().split(/\s+/);
    if (/^0+$/.test(fields[0]) && fields[1] === "00" && fields[9] !== "lo") names.add(fields[9]);
  }
  return names;
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    return [];
  }
}
