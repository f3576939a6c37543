import { describe, expect, test } from "vitest";
import { PacketBatch } from "../../wire/batch.ts";
import { socketConformance } from "../../../test/conformance/socket.suite.ts";
import { hasIpv6, settle, untilTrue } from "../../../test/conformance/system-host.ts";
import { formatAddress, parseAddress } from "./address-text.ts";
import { openDgramSocket } from "./dgram.ts";

socketConformance({
  name: "dgram",
  open: () => openDgramSocket({ host: "127.0.0.1" }),
  until: untilTrue,
  settle,
});

if (hasIpv6()) {
  socketConformance({
    name: "dgram over IPv6",
    open: () => openDgramSocket({ host: "::1" }),
    until: untilTrue,
    settle,
  });
}

describe("dgram socket", () => {
  test("a port in use is told as such", async () => {
    const first = await openDgramSocket({ host: "127.0.0.1" });
    const port = first.localAddress[4];
    await expect(openDgramSocket({ host: "127.0.0.1", port })).rejects.toMatchObject({ code: "PORT_IN_USE" });
    first.close();
  });

  test("an address of another machine and a name are configuration errors", async () => {
    await expect(openDgramSocket({ host: "198.51.100.7" })).rejects.toMatchObject({ code: "CONFIGURATION" });
    await expect(openDgramSocket({ host: "localhost" })).rejects.toMatchObject({ code: "CONFIGURATION" });
  });

  test("by default one socket serves IPv4 and IPv6", async () => {
    if (!hasIpv6()) return;
    const any = await openDgramSocket();
    const batch = new PacketBatch(4, 100);
    const seen: string[] = [];
    const inbox = new PacketBatch(4, 100);
    any.start({
      handleReadable: () => {
        any.receive(inbox);
        for (let i = 0; i < inbox.count; i++) seen.push(formatAddress(inbox.addresses, i));
        inbox.clear();
      },
      handleWritable: () => {},
      handleError: () => {},
    });
    const port = any.localAddress[4];
    for (const host of ["127.0.0.1", "::1"]) batch.push(10, parseAddress(host, port)!, 0);
    expect(any.send(batch, 0, 2)).toBe(2);
    await untilTrue(() => seen.length === 2);
    expect(seen).toEqual([`127.0.0.1:${port}`, `[::1]:${port}`]);
    any.close();
  });

  test("loopback carries the largest datagrams, an unknown path Ethernet's", async () => {
    const socket = await openDgramSocket();
    const bytes = (host: string): number => socket.maxDatagramBytes(parseAddress(host, 1)!, 0);
    if (process.platform === "linux") {
      expect(bytes("127.0.0.1")).toBe(65_507);
      expect(bytes("127.9.9.9")).toBe(65_507);
      if (hasIpv6()) expect(bytes("::1")).toBe(65_487);
    }
    expect(bytes("198.51.100.7")).toBeGreaterThanOrEqual(1_200);
    socket.close();
  });

  test("an IPv6 destination on an IPv4 socket is loss, not failure", async () => {
    const socket = await openDgramSocket({ host: "127.0.0.1" });
    const batch = new PacketBatch(1, 10);
    batch.push(10, parseAddress("::1", 9)!, 0);
    expect(socket.send(batch, 0, 1)).toBe(1);
    expect(socket.statistics.sendErrors).toBe(1);
    socket.close();
  });
});
