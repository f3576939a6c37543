import { createSocket } from "node:dgram";
import type { RemoteInfo, Socket } from "node:dgram";
import { afterEach, describe, expect, test } from "vitest";
import { openLinkRelay } from "./link-relay.ts";
import type { LinkRelay, LinkRelayOptions } from "./link-relay.ts";

const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
});

async function bind(): Promise<Socket> {
  const socket = createSocket("udp4");
  await new Promise<void>((resolve) => {
    socket.bind(0, "127.0.0.1", resolve);
  });
  open.push(socket);
  return socket;
}

async function relay(target: Socket, options: Partial<LinkRelayOptions>): Promise<LinkRelay> {
  const opened = await openLinkRelay({
    listen: { host: "127.0.0.1", port: 0 },
    target: { host: "127.0.0.1", port: target.address().port },
    ...options,
  });
  open.push(opened);
  return opened;
}

function next(socket: Socket): Promise<{ text: string; from: RemoteInfo }> {
  return new Promise((resolve) => {
    socket.once("message", (bytes, from) => resolve({ text: bytes.toString(), from }));
  });
}

/** A target that answers everything, and the ports it was asked from. */
async function echo(): Promise<{ socket: Socket; ports: Set<number> }> {
  const socket = await bind();
  const ports = new Set<number>();
  socket.on("message", (bytes, from) => {
    ports.add(from.port);
    socket.send(bytes, from.port, from.address);
  });
  return { socket, ports };
}

describe("relay", () => {
  test("answers find their way back to each client", async () => {
    const target = await echo();
    const link = await relay(target.socket, {});
    const [a, b] = [await bind(), await bind()];
    const answers = Promise.all([next(a), next(b)]);
    a.send("from a", link.port, "127.0.0.1");
    b.send("from b", link.port, "127.0.0.1");
    expect((await answers).map(({ text }) => text)).toEqual(["from a", "from b"]);
    expect((await answers)[0].from.port).toBe(link.port);
    expect(target.ports.size).toBe(2);
    expect(link.statistics).toMatchObject({ clients: 2, up: { datagramsOut: 2 }, down: { datagramsOut: 2 } });
  });

  test("delays each direction by what it was told", async () => {
    const target = await echo();
    const link = await relay(target.socket, { up: { delayUs: 30_000 }, down: { delayUs: 40_000 } });
    const a = await bind();
    const beginMs = performance.now();
    const answer = next(a);
    a.send("x", link.port, "127.0.0.1");
    await answer;
    expect(performance.now() - beginMs).toBeGreaterThanOrEqual(70);
  });

  test("loses what the model loses", async () => {
    const target = await echo();
    const link = await relay(target.socket, { up: { lossMask: 0b01 } });
    const a = await bind();
    const answer = next(a);
    a.send("lost", link.port, "127.0.0.1");
    a.send("kept", link.port, "127.0.0.1");
    expect((await answer).text).toBe("kept");
    expect(link.statistics.up.droppedLoss).toBe(1);
  });

  test("changes while it runs", async () => {
    const target = await echo();
    const link = await relay(target.socket, { up: { delayUs: 3_600_000_000 } });
    link.configure("up", { delayUs: 0 });
    const a = await bind();
    const answer = next(a);
    a.send("x", link.port, "127.0.0.1");
    expect((await answer).text).toBe("x");
  });

  test("a rebinding changes the port the target sees; answers to the old one are lost", async () => {
    const target = await bind();
    const link = await relay(target, {});
    const a = await bind();
    const first = next(target);
    a.send("1", link.port, "127.0.0.1");
    const oldPort = (await first).from.port;
    link.rebind();
    const second = next(target);
    a.send("2", link.port, "127.0.0.1");
    const newPort = (await second).from.port;
    expect(newPort).not.toBe(oldPort);
    const answer = next(a);
    target.send("to the old", oldPort, "127.0.0.1");
    target.send("to the new", newPort, "127.0.0.1");
    expect((await answer).text).toBe("to the new");
    expect(link.statistics.rebinds).toBe(1);
  });

  test("only the target may answer", async () => {
    const target = await bind();
    const link = await relay(target, {});
    const a = await bind();
    const seen = next(target);
    a.send("x", link.port, "127.0.0.1");
    const { from } = await seen;
    const stranger = await bind();
    const answer = next(a);
    stranger.send("from a stranger", from.port, "127.0.0.1");
    target.send("from the target", from.port, "127.0.0.1");
    expect((await answer).text).toBe("from the target");
  });

  test("a port in use and an unknown name are told", async () => {
    const taken = await bind();
    const { port } = taken.address();
    await expect(relay(taken, { listen: { host: "127.0.0.1", port } })).rejects.toMatchObject({
      code: "PORT_IN_USE",
    });
    await expect(relay(taken, { target: { host: "nowhere.invalid", port: 1 } })).rejects.toMatchObject({
      code: "NAME_NOT_RESOLVED",
    });
    await expect(relay(taken, { up: { lossProbability: 2 } })).rejects.toMatchObject({
      code: "CONFIGURATION",
    });
  });

  test("closing twice is closing once", async () => {
    const link = await relay(await bind(), {});
    await link.close();
    await link.close();
  });
});
