import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../base/random.ts";
import { PacketBatch } from "../../wire/batch.ts";
import { appendPlain, packetKeyConformance } from "../../../test/conformance/packet-key.suite.ts";
import { socketConformance } from "../../../test/conformance/socket.suite.ts";
import { hasIpv6, settle, untilTrue } from "../../../test/conformance/system-host.ts";
import { nativePacketKeyFactory, packetKeyFactory } from "../crypto/packet-key-native.ts";
import { nodePacketKey } from "../crypto/packet-key-node.ts";
import { parseAddress } from "./address-text.ts";
import { nativeBinding } from "./native-loader.ts";
import { NATIVE_FEATURES, openNativeSocket, type NativeSocket } from "./native.ts";
import { openSocket } from "./open.ts";

const binding = nativeBinding();

test("without the addon, sockets and keys are plain Node's", async () => {
  const before = process.env["GODWIT_NATIVE"];
  process.env["GODWIT_NATIVE"] = "0";
  try {
    expect(nativeBinding()).toBeUndefined();
    const socket = await openSocket({ host: "127.0.0.1" });
    expect(socket.description).toMatch(/^dgram/);
    socket.close();
    expect(packetKeyFactory()).toBe(nodePacketKey);
  } finally {
    if (before === undefined) delete process.env["GODWIT_NATIVE"];
    else process.env["GODWIT_NATIVE"] = before;
  }
});

// Where no compiler built the addon there is nothing more to test: plain Node has its own tests.
if (binding !== undefined) {
  const { gso, gro, sendmmsg, recvmmsg, all } = NATIVE_FEATURES;
  const variants: [string, string, number][] = [
    ["native", "127.0.0.1", all],
    ["native over IPv6", "::1", all],
    ["native without GSO", "127.0.0.1", gro | sendmmsg | recvmmsg],
    ["native without GRO", "127.0.0.1", gso | sendmmsg | recvmmsg],
    ["native with one datagram a call", "::1", 0],
  ];
  for (const [name, host, features] of variants) {
    if (host === "::1" && !hasIpv6()) continue;
    socketConformance({
      name,
      open: async () => openNativeSocket(binding, { host }, features),
      until: untilTrue,
      settle,
    });
  }

  packetKeyConformance("native", nativePacketKeyFactory(binding));

  const handlers = (socket: NativeSocket, batch: PacketBatch) => ({
    handleReadable: () => {
      while (socket.receive(batch) > 0);
    },
    handleWritable: () => {},
    handleError: () => {},
  });

  describe("native socket", () => {
    test("a port in use, a foreign address and a name are told as such", () => {
      const first = openNativeSocket(binding, { host: "127.0.0.1" });
      const port = first.localAddress[4];
      const code = (options: object): unknown => {
        try {
          openNativeSocket(binding, options);
        } catch (error) {
          return (error as { code: unknown }).code;
        }
        return undefined;
      };
      expect(code({ host: "127.0.0.1", port })).toBe("PORT_IN_USE");
      expect(code({ port })).toBe("PORT_IN_USE");
      expect(code({ host: "198.51.100.7" })).toBe("CONFIGURATION");
      expect(code({ host: "localhost" })).toBe("CONFIGURATION");
      first.close();
      const again = openNativeSocket(binding, { host: "127.0.0.1", port });
      again.close();
    });

    test("a run travels as super-packets: few calls, all datagrams, ECN included", async () => {
      const a = openNativeSocket(binding, { host: "127.0.0.1" });
      const b = openNativeSocket(binding, { host: "127.0.0.1" });
      const inbox = new PacketBatch(1_024, 4 << 20);
      b.start(handlers(b, inbox));
      const batch = new PacketBatch(440, 440 * 1_400);
      for (let i = 0; i < 440; i++) {
        batch.bytes.fill(i, batch.usedBytes, batch.usedBytes + 1_400);
        batch.push(1_400, b.localAddress, 0);
        batch.ecn[i] = i < 220 ? 2 : 1;
      }
      expect(a.send(batch, 0, 440)).toBe(440);
      await untilTrue(() => inbox.count === 440);
      expect(inbox.bytes.subarray(0, 100)).toEqual(batch.bytes.subarray(0, 100));
      expect(inbox.datagram(439)).toEqual(batch.datagram(439));
      expect([...inbox.ecn.subarray(0, 440)]).toEqual([...batch.ecn]);
      if (a.description.includes("gso, gro, sendmmsg")) {
        // 440 datagrams of 1 400 bytes are ten super-packets: one call.
        expect(a.statistics.sendCalls).toBe(1);
        expect(b.statistics.receiveCalls).toBeLessThanOrEqual(10);
      }
      a.close();
      b.close();
    });

    test("a run for IPv4 and one for IPv6 leave one dual-stack socket", async () => {
      if (!hasIpv6()) return;
      const a = openNativeSocket(binding);
      const b = openNativeSocket(binding);
      const inbox = new PacketBatch(64, 4 << 20);
      b.start(handlers(b, inbox));
      const port = b.localAddress[4];
      const batch = new PacketBatch(20, 20_000);
      for (let i = 0; i < 20; i++) {
        batch.push(1_000, parseAddress(i < 10 ? "127.0.0.1" : "::1", port)!, 0);
        batch.ecn[i] = 2;
      }
      expect(a.send(batch, 0, 20)).toBe(20);
      await untilTrue(() => inbox.count === 20);
      const from = (index: number): number[] => [...inbox.addresses.subarray(index * 6, index * 6 + 6)];
      expect(from(0)).toEqual([0, 0, 0xffff, 0x7f000001, a.localAddress[4], 0]);
      expect(from(19)).toEqual([0, 0, 0, 1, a.localAddress[4], 0]);
      expect(new Set(inbox.ecn.subarray(0, 20))).toEqual(new Set([2]));
      a.close();
      b.close();
    });

    test("segments above the path's size are loss, and GSO stays", async () => {
      const a = openNativeSocket(binding, { host: "127.0.0.1" });
      const described = a.description;
      // 203.0.113.0/24 is for documentation (RFC 5737): routed to the default interface or nowhere.
      const batch = new PacketBatch(4, 4 * 16_000);
      for (let i = 0; i < 4; i++) batch.push(16_000, parseAddress("203.0.113.9", 9)!, 0);
      expect(a.send(batch, 0, 4)).toBe(4);
      expect(a.statistics.sendErrors).toBe(4);
      expect(a.description).toBe(described);
      a.close();
    });

    test("an answer from a closed port is counted and ends nothing", async () => {
      const a = openNativeSocket(binding, { host: "127.0.0.1" });
      const gone = openNativeSocket(binding, { host: "127.0.0.1" });
      const address = gone.localAddress.slice();
      gone.close();
      a.start(handlers(a, new PacketBatch(8, 1 << 17)));
      const batch = new PacketBatch(1, 10);
      batch.push(10, address, 0);
      a.send(batch, 0, 1);
      await untilTrue(() => a.statistics.pathErrors > 0);
      // The second meets the news of the first, which loopback delivers before `send` returns.
      expect(a.send(batch, 0, 1)).toBe(1);
      expect(a.send(batch, 0, 1)).toBe(1);
      await untilTrue(() => a.statistics.pathErrors > 2);
      expect(a.statistics).toMatchObject({ datagramsSent: 3, sendErrors: 0 });
      a.close();
    });

    test("what the kernel had to drop is counted", async () => {
      const a = openNativeSocket(binding, { host: "127.0.0.1" });
      const b = openNativeSocket(binding, { host: "127.0.0.1", receiveBufferBytes: 65_536 });
      const batch = new PacketBatch(100, 140_000);
      for (let i = 0; i < 100; i++) batch.push(1_400, b.localAddress, 0);
      for (let round = 0; round < 20; round++) a.send(batch, 0, 100);
      const inbox = new PacketBatch(4_096, 8 << 20);
      b.start(handlers(b, inbox));
      await untilTrue(() => inbox.count > 0);
      await settle();
      // The counter travels with datagrams received after the drops.
      a.send(batch, 0, 1);
      await untilTrue(() => b.statistics.kernelDrops! > 0);
      expect(b.statistics.kernelDrops).toBeLessThan(2_000);
      a.close();
      b.close();
    });

    test("as much waits to be read as the system allows", async () => {
      const a = openNativeSocket(binding, { host: "127.0.0.1" });
      const b = openNativeSocket(binding, { host: "127.0.0.1" });
      // socket(7): the kernel doubles what it is asked for. A datagram of 65 507 bytes counts for 66 600.
      const allowed = Number(readFileSync("/proc/sys/net/core/rmem_max", "latin1"));
      const holds = Math.min(400, Math.floor((2 * allowed) / 70_000));
      const batch = new PacketBatch(1, 65_507);
      batch.push(65_507, b.localAddress, 0);
      for (let i = 0; i < holds; i++) a.send(batch, 0, 1);
      const inbox = new PacketBatch(4_096, 512 * 65_536);
      b.start(handlers(b, inbox));
      await untilTrue(() => inbox.count > 0);
      await settle();
      expect(inbox.count).toBe(holds);
      a.close();
      b.close();
    });

    test("loopback carries the largest datagrams", () => {
      const socket = openNativeSocket(binding);
      const bytes = (host: string): number => socket.maxDatagramBytes(parseAddress(host, 1)!, 0);
      expect(bytes("127.0.0.1")).toBe(65_507);
      if (hasIpv6()) expect(bytes("::1")).toBe(65_487);
      expect(bytes("198.51.100.7")).toBeGreaterThanOrEqual(1_232);
      socket.close();
      expect(bytes("127.0.0.1")).toBeGreaterThan(0);
    });
  });

  // The long version under AddressSanitizer: npm run fuzz:native -- --asan
  test("what does not fit is a TypeError, whatever was closed, detached or out of bounds", () => {
    const nothing = (): void => {};
    const address = parseAddress("127.0.0.1", 0)!;
    const socket = binding.openSocket(4, address, 65_536, 15, nothing, nothing, nothing);
    const key = binding.createKey(new Uint8Array(32), new Uint8Array(12));
    const bytes = new Uint8Array(100);
    const words = (...values: number[]): Int32Array => Int32Array.from(values);
    const numbers = new Float64Array(1);
    const seal = (...list: unknown[]): unknown => (binding.seal as (...list: unknown[]) => unknown)(...list);
    const send = (...list: unknown[]): unknown => (binding.send as (...list: unknown[]) => unknown)(...list);
    expect(seal(key, bytes, words(0), words(30), numbers, 0, 1, 13)).toBeUndefined();
    expect(() => seal(key, bytes, words(0), words(101), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(90), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(-1), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(-30), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(28), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), numbers, 0, 2, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), numbers, 0, 1, 13.5)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), numbers, NaN, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), Float64Array.of(-1), 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), Float64Array.of(NaN), 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, words(0), words(0), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal(key, bytes, words(0), words(30), numbers, 0, 1)).toThrow(TypeError);
    expect(() => seal(socket, bytes, words(0), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    expect(() => seal({}, bytes, words(0), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    const gone = new Uint8Array(100);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect(() => seal(key, gone, words(0), words(30), numbers, 0, 1, 13)).toThrow(TypeError);
    const ecn = new Uint8Array(1);
    expect(() => send(socket, bytes, words(0), words(101), address, ecn, 0, 1)).toThrow(TypeError);
    expect(() => send(socket, gone, words(0), words(30), address, ecn, 0, 1)).toThrow(TypeError);
    expect(() => send(key, bytes, words(0), words(30), address, ecn, 0, 1)).toThrow(TypeError);
    binding.closeSocket(socket);
    binding.closeSocket(socket);
    expect(() => binding.startSocket(socket)).toThrow(TypeError);
    expect(() => binding.localAddress(socket, words(0, 0, 0, 0, 0, 0))).toThrow(TypeError);
    expect(send(socket, bytes, words(0), words(30), address, ecn, 0, 1)).toBe(1);
  });

  test("both packet keys agree on 10 000 random packets", () => {
    const random = new SeededRandom(20_261_121, "packet keys");
    const native = nativePacketKeyFactory(binding);
    for (let group = 0; group < 100; group++) {
      const secret = random.bytes(new Uint8Array(32));
      const iv = random.bytes(new Uint8Array(12));
      const headerBytes = random.integer(0, 40);
      const ours = new PacketBatch(100, 100 * 1_600);
      const theirs = new PacketBatch(100, 100 * 1_600);
      for (let i = 0; i < 100; i++) {
        const header = random.bytes(new Uint8Array(headerBytes));
        const text = random.bytes(new Uint8Array(random.integer(0, random.chance(0.2) ? 20 : 1_500)));
        const number = random.integer(0, 2 ** random.integer(1, 53) - 1);
        appendPlain(ours, header, text, number);
        appendPlain(theirs, header, text, number);
      }
      const plain = ours.bytes.slice();
      const oneWay = native(secret, iv);
      const otherWay = nodePacketKey(secret, iv);
      oneWay.seal(ours, 0, 100, headerBytes);
      otherWay.seal(theirs, 0, 100, headerBytes);
      expect(Buffer.compare(ours.bytes, theirs.bytes)).toBe(0);
      for (let i = 0; i < 100; i++) {
        if (random.chance(0.1)) {
          const at = ours.offsets[i] + random.integer(0, ours.lengths[i] - 1);
          ours.bytes[at] ^= 1 << random.integer(0, 7);
          theirs.bytes[at] = ours.bytes[at];
        }
      }
      expect(oneWay.open(ours, 0, 100, headerBytes)).toBe(otherWay.open(theirs, 0, 100, headerBytes));
      expect(ours.opened).toEqual(theirs.opened);
      for (let i = 0; i < 100; i++) {
        if (ours.opened[i] === 0) continue;
        const end = ours.offsets[i] + ours.lengths[i] - 16;
        expect(
          Buffer.compare(ours.bytes.subarray(ours.offsets[i], end), plain.subarray(ours.offsets[i], end)),
        ).toBe(0);
      }
    }
  });
}
